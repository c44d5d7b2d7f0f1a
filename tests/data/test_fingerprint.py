"""Fingerprints of data: the same wherever it lies, another one where a pair differs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from longclip.data import ShardCache, open_collection, open_training_data
from longclip.data.mixture import Joined
from longclip.util.digest import Digest, spread
from tests.helpers.shard_files import samples, write_tar
from tests.helpers.table_files import png, write_jsonl, write_parquet, write_png

datasets = pytest.importorskip("datasets")

TEXTS = ["one", "two", "three"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_lines(folder: Path, texts: list[str], colour: str = "blue") -> Path:
    for name, own in (("a", "red"), ("b", "green"), ("c", colour)):
        write_png(folder / f"{name}.png", own)
    rows = [{"image": f"{n}.png", "short": t} for n, t in zip("abc", texts, strict=True)]
    return write_jsonl(folder / "t.jsonl", *rows)


def write_embedded(folder: Path, texts: list[str], colour: str = "blue") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    images = [png("red"), png("green"), png(colour)]
    return write_parquet(folder / "t.parquet", image=images, short=texts)


def write_folder(folder: Path, texts: list[str], colour: str = "blue") -> Path:
    write_lines(folder, texts, colour).unlink()
    rows = [{"file_name": f"{n}.png", "short": t} for n, t in zip("abc", texts, strict=True)]
    write_jsonl(folder / "metadata.jsonl", *rows)
    return folder


def write_shard(folder: Path, texts: list[str], colour: str = "blue") -> Path:
    members = samples("red", "green", colour)
    members |= {f"{i:04}.txt": text.encode() for i, text in enumerate(texts)}
    return write_tar(folder / "t.tar", members)


@pytest.mark.parametrize("write", [write_lines, write_embedded, write_folder, write_shard])
def test_it_follows_the_pairs_and_not_the_place(write: Callable[..., Path], tmp_path: Path) -> None:
    def fingerprint(path: Path) -> str:
        return open_collection(path, cache=ShardCache(tmp_path / "shards")).fingerprint()

    first = fingerprint(write(tmp_path / "first/set", TEXTS))
    (tmp_path / "second").mkdir()
    assert fingerprint(write(tmp_path / "second/set", TEXTS)) == first
    other_text = write(tmp_path / "third/set", ["one", "two", "3"])
    other_order = write(tmp_path / "fourth/set", TEXTS[::-1])
    other_picture = write(tmp_path / "fifth/set", TEXTS, colour="red")
    if write in (write_lines, write_folder):  # it is the content that counts, not the size
        same_size = png("red").ljust(len(png("blue")), b"\0")
        (tmp_path / "fifth/set/c.png").write_bytes(same_size)
    found = {first, *map(fingerprint, (other_text, other_order, other_picture))}
    assert len(found) == 4


def test_a_mixture_has_its_parts_in_it_with_their_weights(tmp_path: Path) -> None:
    write_lines(tmp_path / "a", TEXTS)
    write_lines(tmp_path / "b", TEXTS[::-1])

    def fingerprint(text: str) -> str:
        (tmp_path / "mix.toml").write_text(text)
        return open_training_data([tmp_path / "mix.toml"]).fingerprint()

    plain = '[[source]]\ndata = "a/t.jsonl"\n[[source]]\ndata = "b/t.jsonl"'
    assert fingerprint(plain) == fingerprint(plain)
    others = [
        plain + "\nlimit = 2",
        plain + '\nshort = "first-sentence"',
        plain + '\nlong = "shuffled"',
        plain.replace("a/t", "c/t").replace("b/t", "a/t").replace("c/t", "b/t"),
        plain.replace('jsonl"', 'jsonl"\nweight = 1'),
        plain.replace('b/t.jsonl"', 'b/t.jsonl"\nweight = 2').replace(
            'a/t.jsonl"', 'a/t.jsonl"\nweight = 1'
        ),
    ]
    assert len({fingerprint(text) for text in (plain, *others)}) == 7
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "a", moved)
    assert (
        open_training_data([moved / "t.jsonl"]).fingerprint()
        == open_training_data([tmp_path / "a/t.jsonl"]).fingerprint()
    )


def test_a_source_without_a_rule_for_long_texts_is_known_as_before_there_were_any() -> None:
    mixture = open_training_data(["scenes/val"])
    digest = Digest()
    digest.add(Joined([open_collection("scenes/val")]).fingerprint())
    digest.add("None", "PolicyChange(short=None, join_short=None)")
    assert mixture.fingerprint() == digest.hexdigest()


def test_scenes_are_what_determines_them() -> None:
    names = ("scenes/train", "scenes/train-groups", "scenes/val")
    assert len({open_collection(name).fingerprint() for name in names}) == 3


def test_no_two_sequences_of_texts_look_alike() -> None:
    def of(*parts: str) -> str:
        digest = Digest()
        digest.add(*parts)
        return digest.hexdigest()

    assert len({of("ab", "c"), of("a", "bc"), of("abc"), of("abc", ""), of("\ud800")}) == 5


def test_an_even_choice() -> None:
    assert spread(3, 10) == [0, 1, 2]
    assert spread(10, 5) == [0, 2, 4, 6, 8]
    assert spread(0, 5) == []
