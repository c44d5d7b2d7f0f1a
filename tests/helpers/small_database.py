"""A database of a few drawn scenes, one of which has a hostile name and caption."""

import io
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lancedb", reason='the search page needs pip install "longclip[search]"')

from longclip import load
from longclip.data import open_collection
from longclip.search.database.schema import About, Facts, ImageRow
from longclip.search.database.store import Store
from longclip.search.query.searcher import Searcher

SCENES = 60
HOSTILE = '<img src=x onerror="window.hacked=1">.png'
HOSTILE_CAPTION = '</script><script>window.hacked=1</script><b onclick="window.hacked=1">bold</b>'


@dataclass(frozen=True)
class Served:
    """Where the page is, and what is in the database behind it."""

    url: str
    facts: list[Facts]


def small_searcher(place: Path) -> tuple[Searcher, list[Facts]]:
    """The bundled model over photos in two folders."""
    model = load("nano")
    rows = make_rows(place / "photos", model)
    store = Store.create(str(place / "db"), About.of(model, "nano"))
    store.put(rows)
    return Searcher(store, model), [row.facts for row in rows]


def make_rows(place: Path, model: Any) -> list[ImageRow]:
    scenes = open_collection("scenes/test")
    images = [scenes.image(i) for i in range(SCENES)]
    vectors = model.encode_image(images).numpy()
    rows = []
    for i, (image, vector) in enumerate(zip(images, vectors, strict=True)):
        folder = place / ("hills" if i % 2 else "coast")
        folder.mkdir(parents=True, exist_ok=True)
        name, caption = f"scene {i}.png", scenes.captions(i).long[0]
        if i == 7:
            name, caption = HOSTILE, HOSTILE_CAPTION
        image.save(folder / name)
        thumbnail = io.BytesIO()
        image.save(thumbnail, "JPEG")
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        rows.append(
            ImageRow(facts_of(folder / name, image, caption, i), unit, thumbnail.getvalue())
        )
    return rows


def facts_of(path: Path, image: Image.Image, caption: str, index: int) -> Facts:
    return Facts(
        uri=str(path),
        source=str(path.parent.parent),
        folder=str(path.parent),
        name=path.name,
        sha256=f"{index:064x}",
        bytes=path.stat().st_size,
        width=image.width,
        height=image.height,
        format="PNG",
        taken=datetime(2024, 5, 1 + index % 28, 18, 30),
        latitude=-33.5,
        longitude=151.25,
        camera="Box Brownie",
        caption=caption,
    )
