"""Kinds of names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from longclip.data import open_collection
from longclip.data.names import Kind, kind_of
from longclip.errors import LongCLIPError
from longclip.search.sources.open_image_source import open_image_source
from tests.helpers.shard_files import samples, write_tar


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("scenes", Kind.SCENES),
        ("scenes/test", Kind.SCENES),
        (Path("scenes/test"), Kind.MISSING),
        ("https://host/part-{0..9}.tar", Kind.WEB),
        ("s3://bucket/part-*.tar", Kind.STORAGE),
        ("saved", Kind.SAVED),
        ("shards", Kind.SHARD_FOLDER),
        ("mixed", Kind.FOLDER),
        ("gone.toml", Kind.MIXTURE),
        ("shards/0.tar", Kind.TAR),
        ("index.json", Kind.SHARD_INDEX),
        ("turns.json", Kind.CONVERSATIONS),
        ("rows.json", Kind.TABLE),
        ("rows.jsonl", Kind.TABLE),
        ("rows.csv", Kind.TABLE),
        ("ROWS.TSV", Kind.TABLE),
        ("photo.jpg", Kind.FILE),
        ("shards/{0..1}.tar", Kind.SHARDS),
        ("shards/*.tar", Kind.PATTERN),
        ("mixed/[ab].jpg", Kind.PATTERN),
        ("owner/name.v2", Kind.HUB),
        ("owner/name:train[:10%]", Kind.HUB),
        (Path("owner/name"), Kind.MISSING),
        ("owner/name.jpg", Kind.MISSING),
        ("gone.tar", Kind.MISSING),
        ("gone", Kind.MISSING),
    ],
)
def test_kinds(
    name: str | Path, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for tar in ("shards/0.tar", "mixed/0.tar"):
        write_tar(tmp_path / tar, samples("red"))
    for path, text in {
        "saved/state.json": "{}",
        "mixed/a.jpg": "",
        "index.json": '{"wids_version": 1, "shardlist": []}',
        "turns.json": '[{"image": "a.jpg", "conversations": []}]',
        "rows.json": '[{"image": "a.jpg"}]',
        "rows.jsonl": "",
        "rows.csv": "",
        "ROWS.TSV": "",
        "photo.jpg": "",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert kind_of(name) is kind


@pytest.mark.parametrize("open_data", [open_collection, open_image_source])
def test_an_empty_name_is_not_the_working_directory(open_data: Callable[[str], object]) -> None:
    with pytest.raises(LongCLIPError, match="the name of data is empty"):
        open_data("")
