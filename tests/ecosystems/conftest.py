"""One saved model of a real shape for every library to load."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import longclip
from longclip.model.architectures import ARCHITECTURES
from tests.helpers.models import small_clip
from tests.helpers.plug_and_play import TEXTS, Saved, real_clip


@pytest.fixture(scope="session")
def vit_b16(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """ViT-B/16 with 248 positions."""
    model = real_clip(ARCHITECTURES["ViT-B/16"])
    directory = tmp_path_factory.mktemp("real") / "vit-b16"
    longclip.save(model, directory)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return Saved(model, directory, model.encode_text(TEXTS), pixels, model.encode_image(pixels))


@dataclass(frozen=True)
class SavedOnnx:
    """A small model of 248 tokens, with weights and as ONNX files of float32 and of 8 bits."""

    model: longclip.CLIP
    directory: Path
    onnx: Path


@pytest.fixture(scope="session")
def saved_onnx(tmp_path_factory: pytest.TempPathFactory) -> SavedOnnx:
    """One export for every library to load."""
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library)
    from longclip.export import Int8, export_onnx

    model = longclip.stretch(small_clip())
    directory = tmp_path_factory.mktemp("small")
    longclip.save(model, directory / "model")
    # Random weights find nothing, so nothing can be lost.
    int8 = Int8(data="scenes/test-short", calibration_pictures=10, max_recall_loss=100, pairs=10)
    export_onnx(directory / "model", directory / "onnx", int8=int8)
    return SavedOnnx(model, directory / "model", directory / "onnx")


@pytest.fixture
def transformers_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What transformers says; it keeps its log from the root logger, where pytest listens."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
