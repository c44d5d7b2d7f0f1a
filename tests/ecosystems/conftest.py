"""One saved model of a real shape for every library to load."""

import logging
from collections.abc import Iterator

import pytest
import torch

import longclip
from longclip.model.config import ARCHITECTURES
from tests.helpers.plug_and_play import TEXTS, Saved, real_clip


@pytest.fixture(scope="session")
def vit_b16(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """ViT-B/16 with 248 positions."""
    model = real_clip(ARCHITECTURES["ViT-B/16"])
    directory = tmp_path_factory.mktemp("real") / "vit-b16"
    longclip.save(model, directory)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return Saved(model, directory, model.encode_text(TEXTS), pixels, model.encode_image(pixels))


@pytest.fixture
def transformers_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What transformers says; it keeps its log from the root logger, where pytest listens."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
