"""Folders of small pictures that all differ."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lancedb", reason='an index needs pip install "longclip[search]"')

from longclip.search.database.store import Store
from longclip.search.indexing.index import index
from longclip.search.indexing.outcomes import IndexReport
from tests.helpers.models import small_clip

MODEL = small_clip()


def jpeg_bytes(seed: int, side: int = 40, **options: object) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg_bytes(seed))
    return path


def photos(folder: Path, count: int, first: int = 0) -> Path:
    for i in range(first, first + count):
        photo(folder / f"{i:04d}.jpg", i)
    return folder


def run_index(*sources: object, db: Path, **options: object) -> IndexReport:
    names = [str(source) for source in sources]
    return index(names, db, MODEL, model_name="small", workers=2, **options)  # type: ignore[arg-type]


def rows_of(db: Path) -> dict[str, str]:
    """sha256 by uri, and each uri once."""
    store = Store.open(str(db))
    pairs = [
        pair
        for batch in store.scan(["uri", "sha256"])
        for pair in zip(*(batch.column(i).to_pylist() for i in (0, 1)), strict=True)
    ]
    assert len(dict(pairs)) == len(pairs) == len(store)
    return dict(pairs)


def tar_file(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_700_000_000
            tar.addfile(info, io.BytesIO(content))
    return path


def kinds(report: IndexReport) -> dict[str, int]:
    names = ("added", "changed", "moved", "unchanged", "deleted", "duplicates")
    counts = {name: getattr(report, name) for name in names}
    sums = ("added", "changed", "moved", "unchanged")
    assert sum(counts[name] for name in sums) + len(report.bad) == report.found
    return {name: count for name, count in counts.items() if count}
