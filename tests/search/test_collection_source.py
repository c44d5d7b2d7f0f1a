"""Data sets give the image files they hold, not what was decoded from them."""

import hashlib
import json
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from longclip.search.indexing.image_loader import read
from longclip.search.indexing.index_plan import ImageTask
from longclip.search.sources.image_source import Unusable
from longclip.search.sources.open_image_source import open_image_source, read_original
from longclip.search.sources.table_source import CollectionSource
from tests.helpers.image_folders import jpeg_bytes, run_index, tar_file


def photo_with_date() -> bytes:
    exif = Image.Exif()
    exif[0x0110] = "Pixel 8"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:31 12:30:11"
    return jpeg_bytes(1, exif=exif)


def contents(source: CollectionSource) -> list[bytes]:
    return [source.read(item) for item in source.list().items]


def test_a_saved_data_set(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pytest.importorskip("lancedb")
    from longclip.search.database.store import Store

    saved, db = tmp_path / "saved", tmp_path / "db"
    files = [photo_with_date(), jpeg_bytes(2)]
    rows = datasets.Dataset.from_dict({"image": [{"bytes": f, "path": None} for f in files]})
    rows.cast_column("image", datasets.Image()).save_to_disk(saved)
    assert contents(open_image_source(saved)) == files
    assert run_index(saved, db=db).added == 2
    uri = f"{saved}::0"
    [row] = Store.open(str(db)).rows("uri", [uri])
    assert read_original(uri) == files[0]
    facts = row.facts
    assert (facts.sha256, facts.bytes) == (hashlib.sha256(files[0]).hexdigest(), len(files[0]))
    assert (facts.format, facts.camera) == ("JPEG", "Pixel 8")
    assert facts.taken == datetime(2024, 5, 31, 12, 30, 11)


def test_what_a_mixture_is_made_of(tmp_path: Path) -> None:
    """A table, shards and drawings, one after the other."""
    pytest.importorskip("datasets")
    files = [jpeg_bytes(i) for i in range(4)]
    (tmp_path / "0.jpg").write_bytes(files[0])
    (tmp_path / "rows.jsonl").write_text(json.dumps({"image": "0.jpg", "short": "A boat."}))
    members = {f"{i}.jpg": files[i] for i in (1, 2)} | {"1.txt": b"A dog.", "2.txt": b"A cat."}
    tar_file(tmp_path / "x.tar", members)
    parts = [f'[[source]]\ndata = "{tmp_path / name}"\n' for name in ("rows.jsonl", "x.tar")]
    mixture = tmp_path / "all.toml"
    mixture.write_text("\n".join([*parts, '[[source]]\ndata = "scenes/val-short"\n']))
    source = open_image_source(mixture)
    items = source.list().items
    assert [source.read(item) for item in items[:3]] == files[:3]
    assert source.read(items[3]).startswith(b"\x89PNG")
    (tmp_path / "0.jpg").unlink()
    gone = read(ImageTask(source, items[0], None))
    assert isinstance(gone, Unusable)
    assert "No such file" in gone.reason
