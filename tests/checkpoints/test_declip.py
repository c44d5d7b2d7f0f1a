"""A text projection's bias, folded where that is exact."""

import dataclasses
from pathlib import Path

import pytest
import torch

import longclip
from longclip.checkpoints import open_checkpoint
from longclip.checkpoints.formats.declip import BIAS, fold_bias
from longclip.errors import CheckpointError
from longclip.model.convert import convert
from tests.helpers.models import SMALL, small_clip

IDS = torch.tensor([[49406, 5, 9, 49407, 49407], [49406, 7, 8, 11, 49407]])


def save(path: Path, joint: int) -> longclip.CLIP:
    config = dataclasses.replace(SMALL, projection_dim=joint, text_projection_bias=True)
    model = small_clip(config)
    longclip.save(model, path)
    return model


@pytest.mark.parametrize("target", ["hf", "openclip"])
def test_embeddings_stay(target: str, tmp_path: Path) -> None:
    model = save(tmp_path / "biased", joint=24)
    done = convert(tmp_path / "biased", tmp_path / "stock", target)
    assert any("moved into the final layer norm" in note for note in done.notes)
    assert "moved into the final layer norm" in (tmp_path / "stock" / "README.md").read_text()
    stock = longclip.load(tmp_path / "stock")
    assert not stock.config.text_projection_bias
    torch.testing.assert_close(stock.encode_text(IDS), model.encode_text(IDS), rtol=0, atol=1e-5)


def test_a_bias_outside_the_projections_range_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "biased", joint=96)
    checkpoint = open_checkpoint(tmp_path / "biased")
    with pytest.raises(CheckpointError, match=r"biased has a bias .* fits into no other weight"):
        fold_bias(checkpoint)
    # Not so where training happened to leave it inside.
    weight = checkpoint.tensors["text_projection.weight"]
    inside = weight @ torch.ones(weight.shape[1])
    lucky = dataclasses.replace(checkpoint, tensors={**checkpoint.tensors, BIAS: inside})
    assert BIAS not in fold_bias(lucky).tensors


def test_without_a_bias_nothing_happens(tmp_path: Path) -> None:
    longclip.save(small_clip(), tmp_path / "a")
    checkpoint = open_checkpoint(tmp_path / "a")
    assert fold_bias(checkpoint) is checkpoint
