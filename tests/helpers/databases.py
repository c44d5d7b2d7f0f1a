"""Databases of made-up embeddings, and a model that can be asked for texts."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.model import CLIP
from longclip.search.database.schema import About, Facts, ImageRow
from longclip.search.database.store import Store
from tests.helpers.models import small_clip

MODEL = small_clip()
WIDTH = MODEL.embedding_dim


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (48, 32)) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, "JPEG")
    return written.getvalue()


def row(uri: str, vector: Sequence[float], content: str | None = None, **facts: object) -> ImageRow:
    """An image; those of equal `content` are copies of one file."""
    folder, _, name = uri.rpartition("/")
    digest = hashlib.sha256((content or uri).encode()).hexdigest()
    unit = np.asarray(vector, np.float32)
    unit = unit / np.linalg.norm(unit)
    known = {"source": "photos", "folder": folder, "name": name, "sha256": digest, "bytes": 9}
    return ImageRow(Facts(uri, **(known | facts)), unit, jpeg((10, 20, 30)))  # type: ignore[arg-type]


def database(
    place: Path, rows: Sequence[ImageRow], model: CLIP = MODEL, name: str = "small"
) -> Store:
    store = Store.create(str(place), About.of(model, name))
    store.put(rows)
    return store


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
