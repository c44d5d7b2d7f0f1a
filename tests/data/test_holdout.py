"""Pictures held out of training: which, and what becomes of everything else."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longclip.data import open_training_data
from longclip.data.captions import DEFAULT_POLICY
from longclip.data.collection import Collection
from longclip.data.holdout import hold_out
from longclip.data.mixture import Mixture, MixtureSource
from longclip.errors import UsageError


def table(path: Path, names: list[str], rows: int = 1) -> Path:
    """Write a table of these pictures, each in so many rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in names:
        if not (picture := path.parent / name).exists() and "gone" not in name:
            Image.new("RGB", (4, 4), (len(lines), 0, 0)).save(picture)
        texts = [f"{path.stem} {name} {row}" for row in range(rows)]
        lines += [json.dumps({"image": name, "caption": text}) + "\n" for text in texts]
    path.write_text("".join(lines))
    return path


def texts_of(collection: Collection) -> list[str]:
    return [text for i in range(len(collection)) for text in collection.captions(i).short]


def names_of(collection: Collection) -> set[str]:
    return {text.split()[1] for text in texts_of(collection)}


def test_a_picture_is_held_out_with_all_its_rows(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", [f"{i}.png" for i in range(20)], rows=3)
    whole = open_training_data([path])
    found = hold_out(whole, 0.2, seed=0)
    assert (len(found.training), len(found.held)) == (16, 4)
    assert not names_of(found.training) & names_of(found.held)
    both = texts_of(found.training) + texts_of(found.held)
    assert sorted(both) == sorted(texts_of(whole))
    again, other = hold_out(whole, 4, seed=0), hold_out(whole, 4, seed=1)
    assert texts_of(again.held) == texts_of(found.held) != texts_of(other.held)
    assert again.training.fingerprint() == found.training.fingerprint()
    assert len({whole.fingerprint(), found.training.fingerprint()}) == 2
    assert other.training.fingerprint() != found.training.fingerprint()


def test_equal_pictures_of_two_sources_stay_together(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(12)]
    paths = [table(tmp_path / "a.jsonl", names), table(tmp_path / "b.jsonl", names[6:])]
    for seed in range(5):
        found = hold_out(open_training_data(paths), 4, seed=seed)
        assert not names_of(found.training) & names_of(found.held)
        assert len(found.training) + len(found.held) == 18
        assert len(found.held) >= 4


def test_weights_policies_and_items_without_a_picture_stay_in_training(tmp_path: Path) -> None:
    table(tmp_path / "a.jsonl", [*(f"{i}.png" for i in range(8)), "gone.png"])
    table(tmp_path / "b" / "b.jsonl", [f"b{i}.png" for i in range(10)])
    (tmp_path / "mix.toml").write_text(
        '[[source]]\ndata = "a.jsonl"\nweight = 1\nshort = "first-sentence"\n'
        '[[source]]\ndata = "b/b.jsonl"\nweight = 3\nlimit = 6\n'
    )
    found = hold_out(open_training_data([tmp_path / "mix.toml"]), 9, seed=0).training
    assert [part.weight for part in found.parts] == [1, 3]
    assert [part.stop for part in found.parts][-1] == len(found) == 6
    assert [names_of(found) & {"gone.png"}, len(found.absent)] == [{"gone.png"}, 1]
    policies = [found.policy_of(i, DEFAULT_POLICY).short for i in range(len(found))]
    first = found.parts[0].stop
    assert policies == ["first-sentence"] * first + ["given"] * (6 - first)
    assert not names_of(found) & {f"b{i}.png" for i in range(6, 10)}


class Blocks(Collection):
    """A hundred shards of ten."""

    name = "blocks"

    def __len__(self) -> int:
        return 1000

    def image(self, index: int) -> Image.Image:
        raise AssertionError

    def key(self, index: int) -> str:
        return str(index)

    def blocks(self) -> list[range]:
        return [range(i, i + 10) for i in range(0, 1000, 10)]


@pytest.mark.parametrize(("wanted", "shards"), [(20, 8), (200, 20)])
def test_of_shards_few_are_touched_and_the_rest_keeps_its_blocks(wanted: int, shards: int) -> None:
    whole = Mixture([MixtureSource("blocks")], [Blocks()])
    found = hold_out(whole, wanted, seed=0)
    assert len(found.held) == wanted
    held = {int(found.held.key(i)) // 10 for i in range(wanted)}
    assert len(held) <= shards
    blocks = found.training.blocks()
    assert np.concatenate([*blocks]).tolist() == list(range(1000 - wanted))
    of_block = [{int(found.training.key(i)) // 10 for i in block} for block in blocks]
    assert all(len(shard) == 1 for shard in of_block)


def test_a_limit_counts_before_pictures_are_held_out() -> None:
    whole = Mixture([MixtureSource("blocks")], [Blocks()])
    found = hold_out(whole, 0.5, seed=0, limit=100)
    assert len(found.held) == 50
    assert sorted(int(found.held.key(i)) for i in range(50))[-1] < 100
    assert [int(found.training.key(i)) for i in (49, 50)] == [
        max(int(found.training.key(i)) for i in range(50)),
        100,
    ]


@pytest.mark.parametrize("wanted", [1, 0.01, 20, 300])
def test_too_few_on_either_side_are_refused(wanted: float, tmp_path: Path) -> None:
    whole = open_training_data([table(tmp_path / "t.jsonl", [f"{i}.png" for i in range(20)])])
    with pytest.raises(UsageError, match=rf"--holdout {wanted} of 20 pictures is \d+: at least 2"):
        hold_out(whole, wanted, seed=0)


def test_pictures_that_are_not_there_are_not_held_out(tmp_path: Path) -> None:
    names = ["0.png", *(f"gone{i}.png" for i in range(5))]
    whole = open_training_data([table(tmp_path / "t.jsonl", names)])
    with pytest.raises(UsageError, match="1 of 6 pictures can be held out, without those"):
        hold_out(whole, 3, seed=0)
