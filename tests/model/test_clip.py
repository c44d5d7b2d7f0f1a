"""What never changes an embedding: trimming, padding, order, batching."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

import longclip
from longclip.errors import EncoderError, UsageError
from longclip.model.transformer import micro_batches
from tests.helpers.models import SMALL, small_clip

MODEL = longclip.stretch(small_clip())
BOS, EOT = 49406, 49407

ids_of_a_text = st.lists(st.integers(0, 49405), max_size=246).map(lambda x: [BOS, *x, EOT])


def one_at_a_time(texts: list[list[int]]) -> torch.Tensor:
    """Slow and obvious: every text alone, padded to the full context."""
    rows = []
    for text in texts:
        padded = torch.full((1, 248), EOT)
        padded[0, : len(text)] = torch.tensor(text)
        hidden = MODEL.text_model.encoder(MODEL.text_model.embeddings(padded), causal=True)
        end = MODEL.text_model.final_layer_norm(hidden)[0, len(text) - 1]
        rows.append(MODEL.text_projection(end))
    return torch.stack(rows)


@settings(max_examples=15)
@given(
    texts=st.lists(ids_of_a_text, min_size=1, max_size=6),
    budget=st.sampled_from([1, 100, 500, 8192]),
    padding=st.sampled_from([0, EOT, 7]),
    seed=st.integers(0, 99),
)
@torch.inference_mode()
def test_trimming_padding_order_and_batching_change_nothing(
    texts: list[list[int]], budget: int, padding: int, seed: int
) -> None:
    expected = one_at_a_time(texts)
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    ids = torch.full((len(texts), 248), padding)
    for row, i in enumerate(order):
        ids[row, : len(texts[i])] = torch.tensor(texts[i])
    got = MODEL.encode_text(ids, token_budget=budget)
    torch.testing.assert_close(got, expected[order], rtol=0, atol=1e-5)
    as_lists = MODEL.encode_text([texts[i] for i in order], token_budget=budget)
    torch.testing.assert_close(as_lists, expected[order], rtol=0, atol=1e-5)


@given(lengths=st.lists(st.integers(2, 248), min_size=1, max_size=60), budget=st.integers(1, 3000))
def test_micro_batches_cover_everything_within_budget(lengths: list[int], budget: int) -> None:
    batches = list(micro_batches(torch.tensor(lengths), budget))
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch.tolist())
        assert len(batch) == 1 or len(batch) * longest <= budget


def test_embeddings_are_float32_and_normalised_on_request() -> None:
    half = longclip.stretch(small_clip()).bfloat16()
    texts = ["a red boat", "a house"]
    plain, unit = half.encode_text(texts), half.encode_text(texts, normalize=True)
    assert plain.dtype == unit.dtype == torch.float32
    assert plain.shape == (2, 24)
    torch.testing.assert_close(unit, F.normalize(plain, dim=-1))
    close = F.cosine_similarity(plain, longclip.stretch(small_clip()).encode_text(texts))
    assert (close > 0.999).all()


def test_one_string_and_no_strings() -> None:
    assert MODEL.encode_text("a boat").shape == (1, 24)
    assert MODEL.encode_text([]).shape == (0, 24)
    assert MODEL.encode_image([]).shape == (0, 24)


def test_pictures_paths_and_pixels_agree(tmp_path) -> None:
    picture = Image.effect_noise((50, 40), 90).convert("RGB")
    picture.save(tmp_path / "noise.png")
    pixels = MODEL.preprocess(picture)[None]
    expected = MODEL.encode_image(pixels)
    torch.testing.assert_close(MODEL.encode_image([picture]), expected)
    torch.testing.assert_close(MODEL.encode_image(str(tmp_path / "noise.png")), expected)
    many = MODEL.encode_image([picture] * 5, batch_size=2)
    torch.testing.assert_close(many, expected.expand(5, -1), rtol=0, atol=1e-6)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="no end-of-text"):
        MODEL.encode_text(torch.tensor([[BOS, 5, 6]]))
    with pytest.raises(ValueError, match="reads 248"):
        MODEL.encode_text([[BOS, *range(300), EOT]])
    with pytest.raises(ValueError, match="mixes"):
        MODEL.encode_text(["a boat", [BOS, EOT]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"\[N, 3, 32, 32\]"):
        MODEL.encode_image(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (None, r"texts\[0\] is NoneType \(None\), neither a string nor"),
        (["a boat", None], r"texts\[1\] is NoneType"),
        ([None], r"texts\[0\] is NoneType \(None\), neither a string nor"),
        ([b"a boat"], r"texts\[0\] is bytes"),
        ([["a", "boat"]], r"texts\[0\] is list \(\['a', 'boat'\]\)"),
        ([BOS, 5, EOT], r"texts\[0\] is int \(49406\)"),
        ([[BOS, 5.5, EOT]], r"texts\[0\] is list"),
        (
            [[BOS, EOT], [BOS, 5, 49408, EOT]],
            "token id 49408 at position 2 of text 1 is not in this model's vocabulary of 49408 ids",
        ),
        (torch.tensor([[BOS, -1, EOT]]), "token id -1 at position 1 of text 0 is not in this"),
        (torch.tensor([BOS, 5, EOT]), r"int64 \[3\]; this model takes whole numbers \[N, L\]"),
        (torch.tensor([[1.0, 2.0]]), r"float32 \[1, 2\]"),
    ],
)
def test_what_is_no_text_is_refused(texts: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        MODEL.encode_text(texts)


def test_what_stands_behind_the_end_of_a_text_need_be_no_token() -> None:
    ids = torch.tensor([[BOS, 5, 6, EOT], [BOS, EOT, -100, 99999]])
    whole = torch.tensor([[BOS, 5, 6, EOT], [BOS, EOT, EOT, EOT]])
    assert torch.equal(MODEL.encode_text(ids), MODEL.encode_text(whole))
    assert torch.equal(MODEL.text_features(ids), MODEL.text_features(whole))


@pytest.mark.parametrize("id", [49408, -1])
def test_ids_that_are_no_tokens_are_named_in_training_too(id: int) -> None:
    ids = torch.tensor([[BOS, 5, 6, EOT], [BOS, 7, id, EOT]])
    with pytest.raises(UsageError, match=f"token id {id} at position 2 of text 1 is not in this"):
        MODEL.text_features(ids)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint16, torch.int16])
def test_ids_of_any_integer_type_are_the_same(dtype: torch.dtype) -> None:
    model = small_clip(replace(SMALL, text=replace(SMALL.text, vocab_size=300, eos_token_id=299)))
    ids = torch.tensor([[298, 5, 6, 299]])
    assert torch.equal(model.encode_text(ids.to(dtype)), model.encode_text(ids))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_an_error_that_names_the_model(value: float) -> None:
    broken = small_clip()
    broken.name = "runs/7/model"
    with torch.no_grad():
        broken.text_model.final_layer_norm.weight[0] = value
        broken.visual_projection.weight[0] = value
    named = "runs/7/model gives 2 of 2 embeddings that are not finite .*weights are damaged"
    for normalize in (False, True):
        with pytest.raises(EncoderError, match=named):
            broken.encode_text(["a boat", "a dog"], normalize=normalize)
        with pytest.raises(EncoderError, match=named):
            broken.encode_image([Image.new("RGB", (40, 40), c) for c in ("red", "blue")])


def test_one_text_that_overflows_in_half_precision_is_counted() -> None:
    model = small_clip()
    with torch.no_grad():
        model.text_model.embeddings.token_embedding.weight[320] *= 1e6
    assert model.encode_text([[BOS, 320, EOT]]).isfinite().all()
    with pytest.raises(EncoderError, match=r"1 of 2 .*\(first: number 1\).*for float16"):
        model.half().encode_text([[BOS, 5, EOT], [BOS, 320, EOT]])


def test_checkpointing_gives_the_same_gradients() -> None:
    ids = longclip.tokenize(["a red boat on a lake", "a house"], context_length=248)
    gradients = []
    for enabled in (False, True):
        model = small_clip().train()
        model.activation_checkpointing(enabled)
        (
            model.text_features(ids).sum() + model.image_features(torch.ones(2, 3, 32, 32)).sum()
        ).backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert (plain is None) == (recomputed is None)
        if plain is not None:
            torch.testing.assert_close(plain, recomputed)


def test_bfloat16_training_attention_equals_the_fused_one() -> None:
    from longclip.model.transformer import attend

    q, k, v = (torch.randn(2, 3, 17, 8) for _ in range(3))
    for causal in (False, True):
        fused = attend(q, k, v, causal=causal)
        plain = attend(*(x.bfloat16().requires_grad_() for x in (q, k, v)), causal=causal)
        torch.testing.assert_close(plain.float(), fused, rtol=0, atol=0.05)


@given(lengths=st.lists(st.integers(2, 248), min_size=1, max_size=200))
def test_micro_batches_are_hardly_padded_unless_small(lengths: list[int]) -> None:
    for batch in micro_batches(torch.tensor(lengths), 8192):
        sizes = [lengths[i] for i in batch.tolist()]
        padded = len(sizes) * max(sizes)
        padding = padded - sum(sizes)
        assert padding <= padded / 16 or max(sum(sizes[:-1]), padding) < 256


def test_a_text_is_not_batched_with_its_sentences() -> None:
    lengths = [*range(8, 20), 151]
    sets = [batch.tolist() for batch in micro_batches(torch.tensor(lengths), 2048)]
    assert sets == [list(range(12)), [12]]


def test_bfloat16_training_attention_looks_only_where_it_may() -> None:
    from longclip.model.transformer import attend

    q, k, v = (torch.randn(2, 3, length, 8) for length in (1, 17, 17))
    visible = torch.arange(17) <= torch.tensor([4, 16])[:, None, None, None]
    fused = attend(q, k, v, visible=visible)
    plain = attend(*(x.bfloat16().requires_grad_() for x in (q, k, v)), visible=visible)
    torch.testing.assert_close(plain.float(), fused, rtol=0, atol=0.05)
    cut = attend(q[:1], k[:1, :, :5], v[:1, :, :5])
    torch.testing.assert_close(fused[:1], cut)


def test_gradients_are_those_of_one_text_at_a_time() -> None:
    """Also in the vocabulary, where a step looks up only the tokens that occur."""
    texts = [[BOS, 5, 9, 5, EOT], [BOS, 9, EOT], [BOS, *range(7, 60), EOT]]
    ids = torch.full((3, 60), EOT)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    weights = torch.randn(
        3, MODEL.config.projection_dim, generator=torch.Generator().manual_seed(0)
    )
    parameters = dict(MODEL.text_model.named_parameters())

    def gradients(features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((features * weights).sum(), list(parameters.values()))

    expected = gradients(one_at_a_time(texts))
    found = gradients(MODEL.text_features(ids, token_budget=64))
    for name, one, other in zip(parameters, expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: n + m)


def test_prepared_pixels_embed_as_their_pictures() -> None:
    pictures = [Image.effect_noise((40 + 9 * i, 50), 80).convert("RGB") for i in range(3)]
    pixels = torch.stack(
        [torch.from_numpy(MODEL.preprocess.pixels(image).copy()) for image in pictures]
    )
    for normalize in (False, True):
        found = MODEL.encode_pixels(pixels, normalize=normalize, batch_size=2)
        expected = MODEL.encode_image(pictures, normalize=normalize, batch_size=2)
        assert torch.equal(found, expected)
        assert not found.requires_grad
    with pytest.raises(ValueError, match=r"normalize takes uint8"):
        MODEL.encode_pixels(pixels.float())


def test_a_call_of_the_model_says_what_to_call() -> None:
    ids = torch.tensor([[49406, 49407]])
    with pytest.raises(longclip.errors.UsageError, match=r"model\.encode_text.*encode_image"):
        small_clip()(ids)


def test_no_more_images_pass_the_network_at_once_than_suit_the_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vision = MODEL.config.vision
    assert vision
    pixels = torch.randn(5, 3, vision.image_size, vision.image_size)
    expected = MODEL.encode_image(pixels)
    seen: list[int] = []
    tower = MODEL.image_features
    monkeypatch.setattr(
        MODEL, "image_features", lambda part: (seen.append(len(part)), tower(part))[1]
    )
    monkeypatch.setattr("longclip.model.clip.SMALL_TOKEN_BUDGET", 3 * vision.patches + 2)
    found = MODEL.encode_image(pixels)
    assert seen == [2, 2, 1]
    torch.testing.assert_close(found, expected)
