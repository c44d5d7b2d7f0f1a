"""A folder of made-up photos with captions."""

from pathlib import Path

import pytest

from tests.helpers.training import write_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 of them."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos", 20)
