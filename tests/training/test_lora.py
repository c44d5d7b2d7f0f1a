"""Low-rank pairs: nothing at first, all that learns, nothing left over."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import longclip
from longclip.model import CLIP, CLIPConfig
from longclip.spec import Tower
from longclip.training import train
from longclip.training.lora import add_lora, merge_lora
from tests.helpers.models import SMALL, small_clip
from tests.helpers.training import tiny_config

IDS = longclip.tokenize(["a red boat on a lake", "a house", "a dog behind the house"])
PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
PER_LAYER = 6


def features(model: CLIP) -> Tensor:
    return torch.cat([model.text_features(IDS), model.image_features(PIXELS)])


def moved(model: CLIP) -> CLIP:
    """With pairs that are no longer at their start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def test_at_first_it_is_the_model_as_it_was() -> None:
    model = small_clip()
    with torch.inference_mode():
        expected = features(model)
        add_lora(model, 4, 8)
        assert torch.equal(features(model), expected)


@settings(max_examples=10)
@given(rank=st.integers(1, 31), alpha=st.floats(0.5, 64))
def test_merging_changes_no_output(rank: int, alpha: float) -> None:
    # In double precision: a large α over a small rank makes outputs that float32 rounds visibly.
    model = small_clip().double()
    stock = list(model.state_dict())
    add_lora(model, rank, alpha)
    with torch.inference_mode():
        start = model.text_features(IDS)
        expected = moved(model).text_features(IDS)
    assert not torch.allclose(expected, start, atol=1e-3), "the pairs do something"
    merge_lora(model)
    with torch.inference_mode():
        torch.testing.assert_close(model.text_features(IDS), expected, rtol=0, atol=1e-10)
    assert list(model.state_dict()) == stock
    assert type(model.text_model.encoder.layers[0].mlp.fc1) is torch.nn.Linear


def test_merging_in_float32() -> None:
    model = small_clip()
    add_lora(model, 8, 16)
    with torch.inference_mode():
        expected = features(moved(model))
    merge_lora(model)
    with torch.inference_mode():
        found = features(model)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_merged_weights_are_the_sum() -> None:
    model = small_clip()
    add_lora(model, 3, 12)
    state = {name: tensor.clone() for name, tensor in moved(model).state_dict().items()}
    merge_lora(model)
    for name, weight in model.state_dict().items():
        expected = state[name]
        if (stem := name.removesuffix("weight")) + "lora_a" in state:
            expected = expected + 12 / 3 * state[stem + "lora_b"] @ state[stem + "lora_a"]
        torch.testing.assert_close(weight, expected)


def test_a_merged_model_is_saved_and_loaded(tmp_path) -> None:
    model = small_clip()
    add_lora(model, 2, 4)
    merge_lora(moved(model))
    longclip.save(model, tmp_path / "model")
    with torch.inference_mode():
        assert torch.equal(features(longclip.load(tmp_path / "model")), features(model))


@pytest.mark.parametrize("towers", [("text",), ("image",), ("text", "image")])
def test_only_pairs_learn_in_the_towers_named(towers: tuple[Tower, ...]) -> None:
    model = small_clip()
    before = {name: p.clone() for name, p in model.named_parameters()}
    add_lora(model, 2, 4, towers=towers)
    modules = {"text": "text_model.", "image": "vision_model."}
    inside = tuple(modules[tower] for tower in towers)
    pairs = [name for name, _ in model.named_parameters() if "lora_" in name]
    assert len(pairs) == len(towers) * 2 * PER_LAYER * 2
    assert all(name.startswith(inside) for name in pairs)

    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.1, weight_decay=0)
    for _ in range(2):  # at first A gets no gradient: B is zero
        optimizer.zero_grad()
        features(model).pow(2).sum().backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        if name in pairs:
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0, name
        elif name.startswith(inside):
            assert not parameter.requires_grad
            assert parameter.grad is None
            assert torch.equal(parameter, before[name]), name
        else:
            assert parameter.requires_grad, name


def test_gradients_are_those_of_the_sum() -> None:
    """Against plain autograd through W + (α/r) B A, with and without recomputed activations."""
    found = []
    for checkpointing in (False, True):
        model = small_clip().double()
        add_lora(model, 2, 6)
        moved(model).activation_checkpointing(checkpointing)
        model.text_features(IDS).pow(2).sum().backward()
        found.append({n: p.grad for n, p in model.named_parameters() if "text_model.e" in n})
    weights = dict(model.state_dict())
    tower = small_clip().double()
    leaves = {n: weights[n].clone().requires_grad_() for n in found[0] if "lora_" in n}
    summed = dict(tower.named_parameters())
    for name in leaves:
        if name.endswith("lora_a"):
            stem = name.removesuffix("lora_a")
            pair = leaves[stem + "lora_b"] @ leaves[name]
            summed[stem + "weight"] = weights[stem + "weight"] + 6 / 2 * pair
    stand_in = torch.func.functional_call(
        _TextFeatures(tower), {f"model.{n}": p for n, p in summed.items()}, (IDS,)
    )
    stand_in.pow(2).sum().backward()
    for name, leaf in leaves.items():
        for gradients in found:
            torch.testing.assert_close(gradients[name], leaf.grad, msg=lambda m, n=name: n + m)


class _TextFeatures(torch.nn.Module):
    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model.text_features(ids)


def test_a_state_dict_restores_everything() -> None:
    first, second = small_clip(), small_clip(seed=7)
    for model in (first, second):
        add_lora(model, 4, 8)
    second.load_state_dict(moved(first).state_dict())
    with torch.inference_mode():
        assert torch.equal(features(first), features(second))


def test_names_stay_and_pairs_are_added() -> None:
    model = small_clip()
    stock = set(model.state_dict())
    add_lora(model, 2, 4, towers=["text"])
    added = set(model.state_dict()) - stock
    assert set(model.state_dict()) >= stock
    assert "text_model.encoder.layers.0.self_attn.q_proj.lora_a" in added
    assert all(name.endswith(("lora_a", "lora_b")) for name in added)


def test_the_seed_decides_the_start() -> None:
    def start(seed: int) -> Tensor:
        model = small_clip()
        torch.manual_seed(seed)
        add_lora(model, 2, 4)
        return model.state_dict()["text_model.encoder.layers.0.mlp.fc1.lora_a"]

    assert torch.equal(start(3), start(3))
    assert not torch.equal(start(3), start(4))


def test_merging_half_precision_rounds_once() -> None:
    model = small_clip().bfloat16()
    add_lora(model, 2, 4)
    state = {name: tensor.float() for name, tensor in moved(model).state_dict().items()}
    merge_lora(model)
    stem = "vision_model.encoder.layers.1.mlp.fc2."
    exact = state[stem + "weight"] + 2 * state[stem + "lora_b"] @ state[stem + "lora_a"]
    assert torch.equal(model.state_dict()[stem + "weight"], exact.bfloat16())


def test_mistakes_are_named() -> None:
    model = small_clip()
    with pytest.raises(ValueError, match="rank of 0 does not suit the text tower, 32 wide"):
        add_lora(model, 0, 1)
    with pytest.raises(ValueError, match="take 1 to 31"):
        add_lora(model, 32, 1)
    with pytest.raises(ValueError, match="alpha is 0, must be above 0"):
        add_lora(model, 2, 0)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_lora(model)
    assert all(p.requires_grad for p in model.parameters()), "nothing was changed"
    add_lora(model, 2, 1, towers=["image"])
    with pytest.raises(ValueError, match="image tower has low-rank pairs already"):
        add_lora(model, 2, 1)
    assert not any("text_model" in n and "lora_" in n for n in model.state_dict())
    with pytest.raises(ValueError, match="no 'image' tower"):
        add_lora(CLIP(CLIPConfig(text=SMALL.text, vision=None, projection_dim=24)), 2, 1)


def test_the_first_line_says_which_tower_has_the_pairs(photos: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = tiny_config(photos, tmp_path / "run")
    train(replace(config, steps=1, lora_rank=2, learn="text"), on_start=lines.extend)
    assert "low-rank changes of rank 2 of the text tower alone learn: " in lines[0]
