"""Averages of weights, also of models that read different numbers of tokens."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import longclip
from longclip.model import CLIP
from longclip.model.average import average
from longclip.model.stretch import stretch_table
from tests.helpers.models import SMALL, small_clip

POSITIONS = "text_model.embeddings.position_embedding.weight"


def trained(model: CLIP, seed: int = 5) -> CLIP:
    """As fine-tuning would: every weight moved a little, the first positions frozen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            step = 1e-3 * torch.randn(weight.shape, generator=generator)
            if name == POSITIONS:
                step[:20] = 0
            weight += step
    return model


@settings(max_examples=10)
@given(share=st.floats(0, 1))
def test_every_number_is_averaged(share: float) -> None:
    tuned, original = small_clip(seed=1), small_clip(seed=2)
    found = average(tuned, original, share).state_dict()
    others = original.state_dict()
    for name, weight in tuned.state_dict().items():
        expected = (1 - share) * weight.double() + share * others[name].double()
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_of_one_is_that_one_bit_for_bit(dtype: torch.dtype) -> None:
    tuned, original = small_clip(seed=1).to(dtype), small_clip(seed=2).to(dtype)
    for share, expected in ((0, tuned), (1, original)):
        found = average(tuned, original, share)
        assert found.dtype == dtype
        for name, weight in found.state_dict().items():
            assert torch.equal(weight, expected.state_dict()[name]), name


def test_the_models_stay_as_they_are() -> None:
    tuned, original = longclip.stretch(small_clip(seed=1)), small_clip(seed=2)
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in (tuned, original)]
    mixed = average(tuned, original, 0.5)
    with torch.no_grad():
        for parameter in mixed.parameters():
            parameter.zero_()
    for model, state in zip((tuned, original), before, strict=True):
        for name, weight in model.state_dict().items():
            assert torch.equal(weight, state[name]), name


@pytest.mark.parametrize(
    ("method", "keep", "length"),
    [("knowledge-preserved", 20, 248), ("knowledge-preserved", 33, 160), ("linear", 0, 248)],
)
def test_a_shorter_original_is_stretched_as_the_tuned_one_was(
    method: str, keep: int, length: int
) -> None:
    original = small_clip()
    tuned = trained(longclip.stretch(original, length, keep, method))  # type: ignore[arg-type]
    found = average(tuned, original, 0.25)
    assert found.context_length == length
    expected = stretch_table(original.state_dict()[POSITIONS], length, keep=keep)
    table = 0.75 * tuned.state_dict()[POSITIONS] + 0.25 * expected
    torch.testing.assert_close(found.state_dict()[POSITIONS], table)
    longer = longclip.stretch(original, length, keep, method)  # type: ignore[arg-type]
    again = average(tuned, longer, 0.25).state_dict()
    for name, weight in found.state_dict().items():
        assert torch.equal(weight, again[name]), name


def test_half_precision_is_mixed_in_float32() -> None:
    tuned, original = small_clip(seed=1).bfloat16(), small_clip(seed=2)
    found = average(tuned, original, 0.3).state_dict()
    for name, weight in tuned.state_dict().items():
        exact = 0.7 * weight.float() + 0.3 * original.state_dict()[name]
        assert found[name].dtype == torch.bfloat16
        torch.testing.assert_close(found[name], exact.bfloat16())


def test_one_tower_alone() -> None:
    config = replace(SMALL, vision=None)
    tuned, original = longclip.stretch(small_clip(config, 1)), small_clip(config, 2)
    found = average(tuned, original, 0.5)
    assert found.encode_text(["a boat"]).shape == (1, 24)


def test_what_cannot_be_averaged() -> None:
    model = small_clip()
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="must be from 0 to 1"):
            average(model, model, share)
    assert SMALL.text
    wider = small_clip(replace(SMALL, text=replace(SMALL.text, intermediate_size=96)))
    with pytest.raises(ValueError, match=r"differ: text intermediate_size is 64 and 96$"):
        average(model, wider, 0.5)
    gelu = small_clip(replace(SMALL, text=replace(SMALL.text, hidden_act="gelu")))
    with pytest.raises(ValueError, match="text hidden_act is quick_gelu and gelu"):
        average(model, gelu, 0.5)
    with pytest.raises(ValueError, match="image hidden_size is 48 and None"):
        average(model, small_clip(replace(SMALL, vision=None)), 0.5)
    with pytest.raises(ValueError, match="reads 248 tokens and the tuned model 77; stretch the tu"):
        average(model, longclip.stretch(model), 0.5)
    padded = small_clip(replace(SMALL, text=replace(SMALL.text, pad_token_id=0)))
    average(model, padded, 0.5)
