"""Embeddings: bit for bit diffusers' where it can read a prompt, and what comes beyond that."""

import copy
import functools
import logging
import warnings
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from longclip.diffusion.conditioning import Conditioning, encode
from longclip.diffusion.encoders import lengthened
from longclip.diffusion.pipeline import text_slots
from longclip.diffusion.windows import PromptCut
from longclip.errors import EncoderError
from tests.helpers.pipelines import (
    FAMILIES,
    FIRST_WIDTH,
    SECOND_WIDTH,
    Family,
    diffusers,
    image_of,
    tiny_pipeline,
)

XL = ("sdxl", "refiner")
SHORT = "a small red boat near the shore"
OTHER = "two grey herons, one of them asleep"
NEGATIVE = "blurry, low quality"
LONG = " ".join(f"the {colour} boat {i}," for i in range(12) for colour in ("red", "blue"))


@functools.cache
def pipeline(family: Family) -> Any:
    """One for all tests of this file; a test that changes it takes a copy."""
    return tiny_pipeline(family)


@functools.cache
def long_pipeline(family: Family) -> Any:
    """The same with encoders and tokenizers of 248 tokens."""
    own = copy.copy(pipeline(family))
    for slot in text_slots(own):
        setattr(own, slot.name, lengthened(getattr(own, slot.name), 248, 20))
        tokenizer = copy.deepcopy(getattr(own, slot.tokenizer))
        tokenizer.model_max_length = 248
        setattr(own, slot.tokenizer, tokenizer)
    return own


def diffusers_own(
    own: Any, monkeypatch: pytest.MonkeyPatch, guidance: bool = True, **options: Any
) -> Conditioning:
    """Return what the pipeline's encode_prompt makes of the same options."""
    first = getattr(own, "text_encoder", None)
    if first is not None and not hasattr(first, "text_model"):
        # diffusers' clip_skip wants the attribute that transformers 5 took away. Past torch, which
        # would make the encoder a part of itself.
        monkeypatch.setitem(first.__dict__, "text_model", first)
    found = own.encode_prompt(
        device="cpu",
        num_images_per_prompt=1,
        do_classifier_free_guidance=guidance,
        **options,
    )
    return Conditioning(*found)


def assert_same(found: Conditioning, expected: Conditioning) -> None:
    assert found.kwargs.keys() == expected.kwargs.keys()
    for name, tensor in expected.kwargs.items():
        assert found.kwargs[name].dtype == tensor.dtype
        assert torch.equal(found.kwargs[name], tensor), name


def same(left: Tensor | None, right: Tensor | None) -> bool:
    assert left is not None
    assert right is not None
    return torch.equal(left, right)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Catch what diffusers and transformers log; they keep it from the root logger."""
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr(logging.getLogger(library), "propagate", True)
    # What was said once would not be said again.
    for family in FAMILIES:
        for slot in text_slots(pipeline(family)):
            getattr(pipeline(family), slot.tokenizer).deprecation_warnings.clear()
    return caplog


# As diffusers


CALLS: list[dict[str, Any]] = [
    {"prompt": SHORT},
    {"prompt": ""},
    {"prompt": SHORT, "guidance": False},
    {"prompt": SHORT, "negative_prompt": NEGATIVE},
    {"prompt": SHORT, "negative_prompt": ""},
    {"prompt": [SHORT, OTHER]},
    {"prompt": [SHORT, OTHER], "negative_prompt": [NEGATIVE, ""]},
    {"prompt": "naïve café & 1920s don't <|endoftext|> x"},
]
XL_CALLS: list[dict[str, Any]] = [
    {"prompt": SHORT, "prompt_2": OTHER},
    {"prompt": SHORT, "prompt_2": ""},
    {"prompt": [SHORT, OTHER], "prompt_2": [OTHER, "x"], "negative_prompt": NEGATIVE},
    {"prompt": SHORT, "negative_prompt": "x", "negative_prompt_2": NEGATIVE},
    {"prompt": SHORT, "negative_prompt_2": NEGATIVE},
    {"prompt": SHORT, "prompt_2": OTHER, "guidance": False},
]


EACH_CALL = [
    pytest.param(family, call, id=f"{family}-{number}")
    for family in FAMILIES
    for number, call in enumerate(CALLS + XL_CALLS * (family in XL))
]


@pytest.mark.parametrize(("family", "call"), EACH_CALL)
def test_as_diffusers(
    family: Family, call: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pipeline(family)
    assert_same(encode(own, **call), diffusers_own(own, monkeypatch, **call))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("clip_skip", [0, 1, 2, 3])
def test_clip_skip_as_diffusers(
    family: Family, clip_skip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pipeline(family)
    call: dict[str, Any] = {
        "prompt": SHORT,
        "negative_prompt": NEGATIVE,
        "clip_skip": clip_skip,
    }
    found = encode(own, **call)
    assert_same(found, diffusers_own(own, monkeypatch, **call))
    plain = encode(own, SHORT, negative_prompt=NEGATIVE)
    assert same(found.prompt_embeds, plain.prompt_embeds) == (clip_skip == 0)
    assert same(found.negative_prompt_embeds, plain.negative_prompt_embeds)


@pytest.mark.parametrize("family", FAMILIES)
def test_cut_where_diffusers_cuts(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    own = pipeline(family)
    call: dict[str, Any] = {"prompt": [LONG, SHORT], "negative_prompt": [NEGATIVE, LONG]}
    with pytest.warns(PromptCut):
        found = encode(own, **call, overflow="warn", weights=False)
    assert_same(found, diffusers_own(own, monkeypatch, **call))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("clip_skip", [None, 1])
def test_long_encoders_as_diffusers(
    family: Family, clip_skip: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = long_pipeline(family)
    call: dict[str, Any] = {"prompt": [LONG, SHORT], "negative_prompt": [NEGATIVE, LONG]}
    call |= {"clip_skip": clip_skip}
    found = encode(own, **call)
    assert found.prompt_embeds.shape[1] == 248
    assert_same(found, diffusers_own(own, monkeypatch, **call))


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_as_diffusers(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    own = copy.deepcopy(pipeline(family)).to(torch.bfloat16)
    found = encode(own, SHORT)
    assert found.prompt_embeds.dtype == torch.bfloat16
    assert_same(found, diffusers_own(own, monkeypatch, prompt=SHORT))
    assert encode(own, "a (big:1.4) boat").prompt_embeds.dtype == torch.bfloat16


def test_textual_inversion_as_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    own = copy.deepcopy(pipeline("sd1"))
    own.load_textual_inversion(torch.randn(3, FIRST_WIDTH), token="<boat>")
    prompt = "a red <boat>, near the shore"
    found = encode(own, prompt)
    assert_same(found, diffusers_own(own, monkeypatch, prompt=prompt))
    weighted = encode(own, "a red (<boat>:1), near the shore")
    assert_same(weighted, found)
    assert not same(found.prompt_embeds, encode(own, prompt.replace("<", "")).prompt_embeds)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_lora_scale_as_diffusers(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    peft = pytest.importorskip("peft")
    own = copy.deepcopy(pipeline(family))
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    for slot in text_slots(own):
        getattr(own, slot.name).add_adapter(config)
    before = encode(own, SHORT)
    for scale in (None, 0.0, 0.5, 1.0):
        found = encode(own, SHORT, lora_scale=scale)
        assert_same(found, diffusers_own(own, monkeypatch, prompt=SHORT, lora_scale=scale))
        assert same(found.prompt_embeds, before.prompt_embeds) == (scale in (None, 1.0))
        # What was scaled is scaled back.
        assert_same(encode(own, SHORT), before)


def test_a_failing_encoder_gets_its_lora_scale_back(monkeypatch: pytest.MonkeyPatch) -> None:
    peft = pytest.importorskip("peft")
    own = copy.deepcopy(pipeline("sd1"))
    own.text_encoder.add_adapter(
        peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    before = encode(own, SHORT)
    with monkeypatch.context() as patch:
        patch.setattr("longclip.diffusion.conditioning.read_windows", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            encode(own, SHORT, lora_scale=0.5)
    assert_same(encode(own, SHORT), before)


# What a pipeline does with it


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("guidance", [True, False])
def test_a_pipeline_called_with_it(family: Family, guidance: bool) -> None:
    own = pipeline(family)
    scale = 5.0 if guidance else 1.0
    found = encode(own, SHORT, negative_prompt=NEGATIVE, guidance=guidance)
    expected = image_of(own, SHORT, negative_prompt=NEGATIVE, guidance_scale=scale)
    assert torch.equal(image_of(own, **found.kwargs, guidance_scale=scale), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_words_after_the_first_window_are_seen(family: Family) -> None:
    own = pipeline(family)
    pictures = [
        image_of(own, **encode(own, f"{LONG} {ending}", negative_prompt="x").kwargs)
        for ending in ("a heron", "a castle")
    ]
    assert not torch.equal(*pictures)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("sd1", ["prompt_embeds", "negative_prompt_embeds"]),
        (
            "sdxl",
            [
                "prompt_embeds",
                "negative_prompt_embeds",
                "pooled_prompt_embeds",
                "negative_pooled_prompt_embeds",
            ],
        ),
    ],
)
def test_kwargs_hold_what_there_is(family: Family, names: list[str]) -> None:
    own = pipeline(family)
    assert list(encode(own, SHORT).kwargs) == names
    assert list(encode(own, SHORT, guidance=False).kwargs) == names[::2]


def test_no_gradients() -> None:
    assert not encode(pipeline("sdxl"), SHORT).prompt_embeds.requires_grad


# Windows


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_are_read_one_by_one(family: Family) -> None:
    own = pipeline(family)
    found = encode(own, f"{SHORT} BREAK {OTHER} BREAK {SHORT}", clip_skip=1)
    parts = [encode(own, text, clip_skip=1) for text in (SHORT, OTHER, SHORT)]
    expected = torch.cat([part.prompt_embeds for part in parts], dim=1)
    torch.testing.assert_close(found.prompt_embeds, expected)
    if family in XL:
        assert same(found.pooled_prompt_embeds, parts[0].pooled_prompt_embeds)


@pytest.mark.parametrize("family", FAMILIES)
def test_shorter_prompts_get_empty_windows(family: Family) -> None:
    own = pipeline(family)
    found = encode(own, [LONG, SHORT], negative_prompt=NEGATIVE)
    empty = encode(own, "", negative_prompt=NEGATIVE)
    assert found.negative_prompt_embeds is not None
    assert found.prompt_embeds.shape == found.negative_prompt_embeds.shape
    width = {"sdxl": FIRST_WIDTH + SECOND_WIDTH, "refiner": SECOND_WIDTH}.get(family, FIRST_WIDTH)
    assert found.prompt_embeds.shape == (2, 154, width)
    torch.testing.assert_close(found.prompt_embeds[1, 77:], empty.prompt_embeds[0])
    torch.testing.assert_close(
        found.negative_prompt_embeds[0, :77], empty.negative_prompt_embeds[0]
    )
    torch.testing.assert_close(found.negative_prompt_embeds[0, 77:], empty.prompt_embeds[0])


def test_a_long_negative_prompt_lengthens_the_prompt() -> None:
    found = encode(pipeline("sd1"), SHORT, negative_prompt=LONG)
    assert found.prompt_embeds.shape == (1, 154, FIRST_WIDTH)
    assert found.negative_prompt_embeds.shape == (1, 154, FIRST_WIDTH)


def test_a_long_prompt_2_lengthens_the_first() -> None:
    own = pipeline("sdxl")
    found = encode(own, SHORT, prompt_2=LONG)
    assert found.prompt_embeds.shape == (1, 154, FIRST_WIDTH + SECOND_WIDTH)
    first, second = encode(own, f"{SHORT} BREAK BREAK x"), encode(own, LONG)
    torch.testing.assert_close(
        found.prompt_embeds[..., :FIRST_WIDTH], first.prompt_embeds[:, :154, :FIRST_WIDTH]
    )
    torch.testing.assert_close(
        found.prompt_embeds[..., FIRST_WIDTH:], second.prompt_embeds[..., FIRST_WIDTH:]
    )
    assert same(found.pooled_prompt_embeds, second.pooled_prompt_embeds)


def test_zeros_have_the_length_of_the_prompt() -> None:
    found = encode(pipeline("sdxl"), LONG)
    assert found.negative_prompt_embeds.shape == found.prompt_embeds.shape
    assert not found.negative_prompt_embeds.any()
    assert not found.negative_pooled_prompt_embeds.any()


def test_windows_of_long_encoders() -> None:
    found = encode(long_pipeline("sdxl"), f"{LONG} {LONG} {LONG}")
    assert found.prompt_embeds.shape[1] == 496


def test_a_prompt_that_is_cut_is_told_once(log: pytest.LogCaptureFixture) -> None:
    own = pipeline("sdxl")
    with pytest.warns(PromptCut) as caught:
        encode(own, [SHORT, LONG], overflow="warn")
    (warning,) = caught
    said = str(warning.message)
    assert "126 tokens, of which 77 are read" in said
    assert said.count("the blue boat 1 1 ,") == 1
    assert "</w>" not in said
    assert 'overflow="chunk"' in said
    assert warning.filename == __file__
    assert not log.records


@pytest.mark.parametrize("overflow", ["chunk", "warn"])
def test_nothing_is_said_where_nothing_is_cut(overflow: Any, log: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(pipeline("sdxl"), f"{SHORT} BREAK {OTHER}", overflow=overflow)
        encode(pipeline("sd1"), LONG)
    assert not log.records


def test_brackets_are_text_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    own = pipeline("sd1")
    prompt = r"a (big:1.3) [boat] \( BREAK"
    assert_same(encode(own, prompt, weights=False), diffusers_own(own, monkeypatch, prompt=prompt))


# Weights

WEIGHTINGS = ["a1111", "no-norm", "comfyui"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_of_one_change_nothing(family: Family, weighting: Any) -> None:
    own = pipeline(family)
    plain = encode(own, SHORT, negative_prompt=NEGATIVE)
    marked = SHORT.replace("red boat", "(red:1) (boat:1.0)")
    found = encode(own, marked, negative_prompt="(blurry:1), low quality", weighting=weighting)
    assert_same(found, plain)


def weights_of(own: Any, before: str, weighted: str, weight: float) -> Tensor:
    """One window's weights: `before`, then `weighted`, then nothing more."""
    tokenizer = own.tokenizer_2 if hasattr(own, "tokenizer_2") else own.tokenizer
    skipped = len(tokenizer(before, add_special_tokens=False).input_ids)
    count = len(tokenizer(weighted, add_special_tokens=False).input_ids)
    weights = torch.ones(tokenizer.model_max_length)
    weights[1 + skipped : 1 + skipped + count] = weight
    return weights


def halves(own: Any, embeds: Tensor) -> tuple[Tensor, ...]:
    """Split the states by the encoder that contributed them."""
    widths = [getattr(own, slot.name).config.hidden_size for slot in text_slots(own)]
    return embeds.split(widths, dim=-1)


def reference(own: Any, weights: Tensor, weighting: str, clip_skip: int | None) -> Tensor:
    """SHORT's states weighted token by token, in float64."""
    plain = encode(own, SHORT, clip_skip=clip_skip).prompt_embeds
    empty = encode(own, "", clip_skip=clip_skip).prompt_embeds
    parts = []
    for z, z_empty in zip(halves(own, plain[0]), halves(own, empty[0]), strict=True):
        rows = []
        for token, weight in enumerate(weights.tolist()):
            if weighting != "comfyui":
                rows.append(z[token].double() * weight)
            else:
                origin = z_empty[token].double()
                rows.append(origin + weight * (z[token].double() - origin))
        result = torch.stack(rows)
        if weighting == "a1111":
            result = result * z.double().mean() / result.mean()
        parts.append(result)
    return torch.cat(parts, dim=-1).float()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("weight", [1.3, 0.0])
@pytest.mark.parametrize("clip_skip", [None, 1])
def test_weights(family: Family, weighting: Any, weight: float, clip_skip: int | None) -> None:
    own = pipeline(family)
    marked = SHORT.replace("red boat", f"(red boat:{weight})")
    found = encode(own, marked, weighting=weighting, clip_skip=clip_skip)
    weights = weights_of(own, "a small", "red boat", weight)
    expected = reference(own, weights, weighting, clip_skip)
    torch.testing.assert_close(found.prompt_embeds[0], expected, rtol=1e-4, atol=1e-4)
    plain = encode(own, SHORT, clip_skip=clip_skip)
    assert not torch.allclose(found.prompt_embeds, plain.prompt_embeds, rtol=1e-2)
    if family in XL:
        # Weights are for the tokens' states alone.
        assert same(found.pooled_prompt_embeds, plain.pooled_prompt_embeds)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_stay_in_their_prompt_and_window(weighting: Any) -> None:
    own = pipeline("sdxl")
    plain = encode(own, [f"{SHORT} BREAK {OTHER}", OTHER], negative_prompt=NEGATIVE)
    found = encode(
        own,
        [f"{SHORT} BREAK ({OTHER}:1.4)", OTHER],
        negative_prompt=NEGATIVE,
        weighting=weighting,
    )
    assert same(found.prompt_embeds[0, :77], plain.prompt_embeds[0, :77])
    assert not same(found.prompt_embeds[0, 77:], plain.prompt_embeds[0, 77:])
    assert same(found.prompt_embeds[1], plain.prompt_embeds[1])
    assert same(found.negative_prompt_embeds, plain.negative_prompt_embeds)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_weights_of_negative_prompts(family: Family) -> None:
    own = pipeline(family)
    found = encode(own, SHORT, negative_prompt="(blurry:1.4)")
    plain = encode(own, SHORT, negative_prompt="blurry")
    assert same(found.prompt_embeds, plain.prompt_embeds)
    assert not same(found.negative_prompt_embeds, plain.negative_prompt_embeds)


def test_the_weightings_differ() -> None:
    found = [
        encode(pipeline("sd1"), "a (red:1.5) boat", weighting=weighting).prompt_embeds
        for weighting in WEIGHTINGS  # type: ignore[attr-defined]
    ]
    for one, other in combinations(found, 2):
        assert not torch.allclose(one, other)


# Mistakes


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("sd1", {"prompt": []}, "prompt: give a text"),
        ("sd1", {"prompt": None}, "prompt: give a text"),
        ("sd1", {"prompt": [SHORT, 3]}, "prompt: give a text"),
        ("sd1", {"negative_prompt": ["a", "b"]}, "negative_prompt has 2 texts and prompt 1"),
        ("sdxl", {"negative_prompt": ["a", "b"]}, "negative_prompt has 2 texts and prompt 1"),
        ("sdxl", {"prompt_2": ["a", "b"]}, "prompt_2 has 2 texts and prompt 1"),
        (
            "sdxl",
            {"negative_prompt": "a", "negative_prompt_2": ["a", "b"]},
            "negative_prompt_2 has 2 texts",
        ),
        ("sd1", {"prompt_2": "a"}, "prompt_2: this StableDiffusionPipeline has one text encoder"),
        ("sd2", {"negative_prompt_2": "a"}, "negative_prompt_2: this StableDiffusionPipeline"),
        ("sd1", {"clip_skip": 5}, "clip_skip=5: the text_encoder .* 4 layers; .* from 0 to 4"),
        ("sdxl", {"clip_skip": 4}, "clip_skip=4: the text_encoder .* 4 layers; .* from 0 to 3"),
        ("refiner", {"clip_skip": -1}, "clip_skip=-1: the text_encoder_2"),
        (
            "sd1",
            {"weighting": "compel"},
            "weighting='compel': give one of 'a1111', 'no-norm', 'comfyui'",
        ),
        ("sd1", {"overflow": "cut"}, "overflow='cut': give one of 'chunk', 'warn'"),
    ],
)
def test_mistakes(family: Family, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(pipeline(family), **{"prompt": SHORT, **options})


def test_states_that_are_not_finite_name_the_encoder() -> None:
    own = copy.deepcopy(pipeline("sdxl"))
    with torch.no_grad():
        own.text_encoder_2.text_projection.weight[0] = float("nan")
    with pytest.raises(EncoderError, match=r"pipeline's text_encoder_2 .* not finite"):
        encode(own, SHORT)


def test_one_negative_prompt_for_a_batch() -> None:
    own = pipeline("sd1")
    one = encode(own, [SHORT, OTHER], negative_prompt=NEGATIVE)
    each = encode(own, [SHORT, OTHER], negative_prompt=[NEGATIVE] * 2)
    assert_same(one, each)


def test_a_tokenizer_longer_than_its_encoder() -> None:
    own = copy.deepcopy(pipeline("sd1"))
    own.tokenizer.model_max_length = 248
    with pytest.raises(ValueError, match=r"model_max_length is 248, and text_encoder reads 77"):
        encode(own, SHORT)


def test_encoders_of_different_lengths() -> None:
    own = copy.deepcopy(pipeline("sdxl"))
    own.tokenizer_2.model_max_length = 40
    with pytest.raises(ValueError, match=r"is 77 and tokenizer_2\.model_max_length 40"):
        encode(own, SHORT)


def test_other_pipelines() -> None:
    own = object.__new__(diffusers.StableDiffusion3Pipeline)
    with pytest.raises(ValueError, match="StableDiffusion3Pipeline"):
        encode(own, SHORT)
