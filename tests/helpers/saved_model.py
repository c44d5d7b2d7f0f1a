"""A small model in a directory, as fixtures; the `conftest.py` of a folder imports them."""

import shutil
from pathlib import Path

import pytest

import longclip
from tests.helpers.models import small_clip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "small"
    longclip.save(small_clip(), directory)
    return directory


@pytest.fixture
def model_dir(saved: Path, tmp_path: Path) -> Path:
    """A saved model that may be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "model"))
