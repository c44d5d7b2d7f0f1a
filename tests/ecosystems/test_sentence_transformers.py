"""A saved directory in sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.model.convert import convert
from longclip.model.stretch import UntrainedWarning
from tests.helpers.matrix_families import siglip
from tests.helpers.models import small_clip
from tests.helpers.plug_and_play import LONG_TEXTS, TEXTS, Saved, close


def sentence_transformer(directory: Path) -> Any:
    library = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(directory), device="cpu", local_files_only=True)


def encode(model: Any, inputs: list[str] | list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(model.encode(inputs, show_progress_bar=False))


def test_the_shape_of_vit_b_16(vit_b16: Saved) -> None:
    theirs = sentence_transformer(vit_b16.directory)
    assert theirs.max_seq_length == 248
    # It does not normalise unless it is asked to, just as encode_text.
    close(encode(theirs, TEXTS), vit_b16.text)
    unit = theirs.encode(LONG_TEXTS, normalize_embeddings=True, show_progress_bar=False)
    ours = vit_b16.model.encode_text(LONG_TEXTS, normalize=True)
    close(torch.from_numpy(unit), ours)
    # Over 200 tokens in, the last words count.
    assert len(longclip.tokenize(LONG_TEXTS)[0]) > 200
    assert float((ours[0] - ours[1]).norm()) > 1e-2

    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    pictures = [Image.fromarray(noise), Image.new("L", (224, 224), 90)]
    close(encode(theirs, pictures), vit_b16.model.encode_image(pictures))


def test_versions_before_5_4_find_their_module(vit_b16: Saved) -> None:
    """Without modules.json they take a CLIP for a text model and fail; later ones guess right."""
    modules = json.loads((vit_b16.directory / "modules.json").read_text())
    assert [(module["type"], module["path"]) for module in modules] == [
        ("sentence_transformers.models.CLIPModel", "")
    ]


@pytest.mark.parametrize("source", ["projected", "bare"])
def test_a_text_tower_alone(source: str, tmp_path: Path) -> None:
    """What it guesses for a lone tower, the mean of all tokens, is not CLIP's embedding."""
    model = longclip.stretch(small_clip())
    longclip.save(model, tmp_path / "whole")
    convert(tmp_path / "whole", tmp_path / "tower", "hf-text")
    if source == "bare":
        transformers = pytest.importorskip("transformers")
        bare = transformers.CLIPTextModel.from_pretrained(tmp_path / "tower")
        bare.save_pretrained(tmp_path / "bare")
        longclip.save(longclip.load(tmp_path / "bare"), tmp_path / "tower")
    ours = longclip.load(tmp_path / "tower")
    theirs = sentence_transformer(tmp_path / "tower")
    assert theirs.max_seq_length == 248
    close(encode(theirs, TEXTS), ours.encode_text(TEXTS))


@torch.inference_mode()
def test_a_lengthened_siglips_texts_are_padded_to_its_length(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = siglip(tmp_path)
    with pytest.warns(UntrainedWarning):
        model = longclip.stretch(longclip.load(source.path))
    longclip.save(model, tmp_path / "long")
    theirs = sentence_transformer(tmp_path / "long")
    assert theirs.max_seq_length == model.context_length > 64
    texts = [*source.texts, "two small cats sleep in an old house " * 30]
    close(encode(theirs, texts), model.encode_text(texts))
