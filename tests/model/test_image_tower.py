"""Image towers of other libraries: what their library's own state does to them."""

import logging
import sys
from pathlib import Path

import pytest
import torch

import longclip
from longclip.errors import UsageError
from tests.helpers.other_towers import write_model


@pytest.mark.parametrize(("kind", "owner"), [("siglip", "transformers"), ("timm", "open_clip")])
def test_a_library_that_cannot_be_imported_is_named(
    kind: str, owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = longclip.load(write_model(kind, tmp_path))
    assert model.config.vision
    monkeypatch.setattr("longclip.model.image_tower.require_owner", lambda _: None)
    # Python's way to say that an import fails.
    monkeypatch.setitem(sys.modules, owner, None)
    with pytest.raises(UsageError, match=f"need {owner}, which is installed and cannot be import"):
        model.encode_image(torch.rand(1, 3, *[model.config.vision.image_size] * 2))


def test_transformers_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = longclip.load(write_model("siglip", tmp_path))
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        caplog.clear()
        model.prepare_images()
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.text == ""
