"""Batches of groups of items whose texts are alike."""

import errno
import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from longclip.data import open_collection
from longclip.data.captions import Captions
from longclip.data.holdout import hold_out
from longclip.data.open import open_training_data
from longclip.errors import Preempted, UsageError
from longclip.training import TrainConfig, train
from longclip.training import neighbours as neighbours_module
from longclip.training.data import Pairs, make_store, read_options
from longclip.training.neighbours import (
    mean_cosines,
    merged_kinds,
    neighbour_groups,
    refuse_copies,
)
from longclip.training.plan import GroupedPasses, Groups, Plan, make_plan, plan_of
from longclip.training.run.checkpoint import CheckpointWarning
from longclip.training.run.model import initial_model
from tests.helpers.shard_files import samples, write_tar
from tests.helpers.training import tiny_config, train_until, write_described_photos
from tests.training.test_resume import assert_same_weights, losses, start, steps_logged


def unit_rows(count: int, width: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_groups(items: NDArray[np.int64], size: int, seed: int) -> Groups:
    order = np.random.default_rng(seed).permutation(items)
    whole = len(items) // size * size
    return Groups(order[:whole].reshape(-1, size), order[whole:])


@given(st.integers(2, 6), st.data())
def test_each_item_is_in_one_group_and_alike_ones_in_different_ones(
    size: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(size, 60))
    kinds = np.array(
        data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count)), np.int64
    )
    items = np.arange(count) * 3 + 1
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    # Items of a kind have one embedding, as equal texts do.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours_module, "MAX_CELL", data.draw(st.sampled_from([2, 16, 4096])))
        found = neighbour_groups(unit_rows(13, 5, 0)[kinds], kinds, size, items, random)
    assert found.members.shape == (count // size, size)
    assert found.items.tolist() == items.tolist()
    possible = max(Counter(kinds.tolist()).values()) <= count // size
    together = [
        (one, other)
        for group in found.members.tolist()
        for one, other in combinations(kinds[np.searchsorted(items, group)], 2)
        if one == other
    ]
    if possible:
        assert not together
        refuse_copies(kinds, size)
    else:
        with pytest.raises(UsageError, match="have the same text or picture"):
            refuse_copies(kinds, size)
    # One that is spare may take any place: of two of a kind only where all have a double.
    if len(found.spare) <= sum(n == 1 for n in Counter(kinds.tolist()).values()):
        own = Counter(kinds.tolist())
        assert all(own[kinds[np.searchsorted(items, item)]] == 1 for item in found.spare.tolist())


@pytest.mark.parametrize("cell", [12, 4096])
def test_groups_are_of_neighbours(cell: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten far-off clusters of eight: no group of four has items of two."""
    monkeypatch.setattr(neighbours_module, "MAX_CELL", cell)
    centres = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]
    cluster = np.random.default_rng(1).permutation(np.arange(80) % 10)
    vectors = centres[cluster] + 0.01 * unit_rows(80, 10, 2)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = neighbour_groups(vectors, np.arange(80), 4, np.arange(80), np.random.default_rng(cell))
    pure = [len(set(cluster[group].tolist())) == 1 for group in found.members]
    # Halves are of one size and may cut a cluster; what is left of several then comes together.
    assert np.mean(pure) >= (1 if cell == 4096 else 0.7)


def test_groups_of_scenes_are_of_scenes_alike() -> None:
    """By words in common, which know nothing of embeddings; and against random groups."""
    scenes = open_collection("scenes/train")
    words = [Counter(scenes.captions(i).long[0].split()) for i in range(256)]
    vocabulary = {word: n for n, word in enumerate(sorted(set().union(*words)))}
    vectors = np.zeros((256, len(vocabulary)), np.float32)
    for row, own in zip(vectors, words, strict=True):
        for word, count in own.items():
            row[vocabulary[word]] = count
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = np.arange(256)
    found = neighbour_groups(vectors, items, 8, items, np.random.default_rng(0))

    def slowly(groups: NDArray[np.int64]) -> float:
        pairs = [pair for group in groups.tolist() for pair in combinations(group, 2)]
        return float(np.mean([vectors[a] @ vectors[b] for a, b in pairs]))

    inside, any_two = mean_cosines(vectors, found.members)
    assert inside == pytest.approx(slowly(found.members), abs=1e-5)
    assert any_two == pytest.approx(slowly(items[None]), abs=1e-5)
    assert inside > slowly(random_groups(items, 8, 1).members) + 0.15


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_kinds_are_what_texts_or_pictures_join(rows: list[tuple[int, int]]) -> None:
    texts, pictures = np.array([t for t, _ in rows], np.int64), [p for _, p in rows]
    joined = np.array([[a[0] == b[0] or a[1] == b[1] for b in rows] for a in rows])
    for _ in rows:  # friends of friends
        joined = joined @ joined
    kinds = merged_kinds(texts, pictures)
    assert ((kinds[:, None] == kinds) == joined).all()
    alone = merged_kinds(texts, ())
    assert ((alone[:, None] == alone) == (texts[:, None] == texts)).all()


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(0, 30), st.integers(0, 40), st.integers(0, 9)
)
def test_passes_of_groups(size: int, per_batch: int, more: int, made: int, seed: int) -> None:
    batch = size * per_batch
    items = batch + more
    plan = make_plan(items=items, batch_size=batch, epochs=0, steps=80, seed=seed)
    first = random_groups(np.arange(items), size, seed)
    before = replace(plan, grouped=GroupedPasses(0, None, first))
    rest, whole = None, random_groups(np.arange(items), size, seed + 1)
    if made % plan.steps_per_epoch:
        rest = random_groups(before.left(made), size, seed + 2)
    after = replace(plan, grouped=GroupedPasses(made, rest, whole))
    steps = [*before.batches(0, made), *after.batches(made)]
    assert len(steps) == 80
    # A resumed run goes on with the same.
    assert list(after.batches(made + 3)) == steps[made + 3 :]
    assert list(before.batches(made // 2, made)) == steps[made // 2 : made]
    for step, keys in enumerate(steps):
        own = before if step < made else after
        assert len(keys) == batch
        assert {epoch for epoch, _ in keys} == {step // plan.steps_per_epoch}
        assert own.grouped
        pass_of_made = made // plan.steps_per_epoch == step // plan.steps_per_epoch
        groups = first if step < made else rest if pass_of_made and rest else whole
        group_of = {item: n for n, row in enumerate(groups.members.tolist()) for item in row}
        for place in range(0, batch, size):
            met = {group_of.get(item, -1) for _, item in keys[place : place + size]}
            strange = sum(group_of.get(i, -1) == -1 for _, i in keys[place : place + size])
            assert len(met - {-1}) <= 1, "a spare item may be among those of one group"
            assert strange <= len(groups.spare)
    seen = Counter(key for keys in steps for key in keys)
    assert set(seen.values()) == {1}, "an item comes once in a pass"
    for step in range(0, made, max(1, made // 4)):
        begin = step - step % plan.steps_per_epoch
        given_ = {item for keys in steps[begin:step] for _, item in keys}
        assert before.left(step).tolist() == sorted(set(range(items)) - given_)


def test_groups_come_in_another_order_in_every_pass_and_run_and_spare_items_too() -> None:
    groups = random_groups(np.arange(42), 4, 0)
    assert len(groups.spare) == 2

    def steps(seed: int) -> list[list[int]]:
        plan = Plan(42, 8, 100, seed, grouped=GroupedPasses(0, None, groups))
        return [[item for _, item in keys] for keys in plan.batches(0)]

    first, other = steps(0), steps(1)
    assert first[:5] != other[:5]
    assert first[:5] != first[5:10]
    assert sorted(first[0]) != sorted(first[5])
    counts = Counter(item for keys in first for item in keys)
    # 40 of 42 come in each of the 20 passes.
    assert len(counts) == 42
    assert min(counts.values()) > 14


def described(tmp_path: Path, count: int = 21) -> TrainConfig:
    data = write_described_photos(tmp_path / "photos", count)
    config = replace(tiny_config(data, tmp_path / "run"), steps=7, checkpoint_every=2)
    return replace(config, neighbours=4, neighbours_every=3)


def groups_of(config: TrainConfig, step: int) -> dict[str, Any]:
    path = config.out / "neighbours" / f"step-{step:08d}.json"
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def test_groups_are_made_from_the_model_as_it_is(tmp_path: Path) -> None:
    config = described(tmp_path)
    train(config)
    assert sorted(p.name for p in (config.out / "neighbours").iterdir()) == [
        f"step-0000000{step}.json" for step in (0, 3, 6)
    ]
    first, middle, last = (groups_of(config, step) for step in (0, 3, 6))
    assert first["rest"] is None
    assert len(middle["rest"]["groups"]) == 13 // 4, "a pass of two steps has given eight of 21"
    assert first["whole"] != middle["whole"]
    assert last["rest"] is None
    for found in (first, middle, last):
        assert found["cosines"]["of a group"] > found["cosines"]["of any two"]

    model = initial_model(config)
    store = make_store(config, model, open_training_data(config.data))
    pairs = Pairs(store, read_options(config, model))
    texts = [store.collection.captions(i).long[0] for i in range(21)]
    vectors = model.encode_text(texts, normalize=True)
    read = pairs.single_texts(range(21), "long")
    assert read == model.tokenizer.encode(texts, context_length=248)
    expected = neighbour_groups(
        vectors.numpy(),
        np.arange(21),
        4,
        np.arange(21),
        np.random.default_rng((config.seed, 7, 0, 1)),
    )
    assert first["whole"]["groups"] == [" ".join(map(str, g)) for g in expected.members.tolist()]


@pytest.mark.parametrize("stop", [2, 3, 4, 6])
def test_a_run_that_was_stopped_goes_on_with_the_same_groups(stop: int, tmp_path: Path) -> None:
    whole = replace(described(tmp_path), workers=2)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    train_until(cut, stop)
    train(cut, resume=True)
    assert_same_weights(whole.out, cut.out)
    assert losses(whole.out) == losses(cut.out)
    assert groups_of(whole, 6) == groups_of(cut, 6)


def test_a_run_that_was_killed_goes_on_with_the_same_groups(tmp_path: Path) -> None:
    whole = replace(described(tmp_path), steps=12)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    child = start(cut, resume=False, directory=tmp_path)
    while child.poll() is None and steps_logged(cut.out) < 7:
        time.sleep(0.002)
    child.kill()
    child.wait()
    train(cut, resume=True)
    assert_same_weights(whole.out, cut.out)
    assert losses(whole.out) == losses(cut.out)


def test_a_signal_ends_the_search_for_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # New groups before the pass ends, so that only what is left of it is embedded.
    config = replace(described(tmp_path), neighbours_every=1)
    told: list[tuple[int, int]] = []

    def stop(done: int, count: int) -> None:
        told.append((done, count))
        if count == 13 and done:  # in the middle of a pass
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("longclip.training.mining.TEXTS_AT_ONCE", 8)
    with pytest.raises(Preempted, match="after step 1 of 7"):
        train(config, on_texts=stop)
    assert told == [(0, 21), (8, 21), (16, 21), (21, 21), (0, 13), (8, 13)]
    assert not (config.out / "neighbours" / "step-00000001.json").exists()
    train(config, resume=True)
    assert groups_of(config, 1)["whole"] is None
    uncut = replace(config, out=tmp_path / "whole")
    train(uncut)
    assert_same_weights(uncut.out, config.out)


def test_groups_that_are_lost_are_made_anew_and_it_is_said(tmp_path: Path) -> None:
    config = described(tmp_path)
    train_until(config, 5)
    path = config.out / "neighbours" / "step-00000003.json"
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.warns(CheckpointWarning, match=r"step-00000003\.json .*; groups are made anew"):
        result = train(config, resume=True)
    assert result.steps == 7
    assert groups_of(config, 5)["rest"] is not None


def test_a_full_disk_does_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = described(tmp_path)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("longclip.training.mining.write_groups", full)
    with pytest.warns(CheckpointWarning, match="the groups of step 3 could not be written .No sp"):
        train(config)
    assert_same_weights(whole.out, config.out)


def test_other_data_has_other_groups(tmp_path: Path) -> None:
    config = described(tmp_path)
    train_until(config, 4)
    text = Path(config.data[0]).read_text()
    Path(config.data[0]).write_text(text.replace("horse", "cow"))
    train(config, resume=True, changed_data=True)
    assert groups_of(config, 4)["made_from"] != groups_of(config, 3)["made_from"]


def test_groups_are_of_what_is_trained_on(tmp_path: Path) -> None:
    config = replace(described(tmp_path), limit=20, holdout=5, workers=1)
    train(config, measure_holdout=lambda held, bad: lambda model: {"held": len(held)})
    found = groups_of(config, 0)["whole"]
    listed = [int(item) for row in found["groups"] for item in row.split()]
    assert sorted([*listed, *found["spare"]]) == list(range(15))


def test_one_picture_of_two_sources_is_in_different_groups(tmp_path: Path) -> None:
    config = described(tmp_path)
    first = Path(config.data[0])
    rows = [json.loads(line) for line in first.read_text().splitlines()]
    again = first.with_name("again.jsonl")
    # All but equal, so that nothing is nearer to a text than that of the same picture.
    again.write_text("\n".join(json.dumps(row | {"long": row["long"][:-1]}) for row in rows))
    with pytest.warns(UserWarning, match="21 pictures are in more than one source"):
        train(replace(config, data=(str(first), str(again))))
    for row in groups_of(config, 0)["whole"]["groups"]:
        pictures = [int(item) % 21 for item in row.split()]
        assert len(set(pictures)) == 4


def test_items_without_a_text_are_like_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(described(tmp_path), max_bad_fraction=1.0, workers=0)
    model = initial_model(config)
    store = make_store(config, model, open_training_data(config.data))
    captions = store.collection.captions
    # More than there are groups, which equal texts must not be.
    monkeypatch.setattr(
        store.collection, "captions", lambda i: captions(i) if i % 2 else Captions()
    )
    assert Pairs(store, read_options(config, model)).single_texts([2, 4], "long") == [[], []]
    assert len(train(config, store=store).bad) > 6


def test_overwriting_a_run_takes_its_groups_with_it(tmp_path: Path) -> None:
    config = described(tmp_path)
    train(config)
    train(replace(config, neighbours=0, neighbours_every=0), overwrite=True)
    assert not (config.out / "neighbours").exists()


def test_short_texts_alone_are_what_is_compared_where_they_are_trained_on(tmp_path: Path) -> None:
    config = replace(described(tmp_path), pcm=False, texts="short", short_texts="sentences")
    model = initial_model(config)
    store = make_store(config, model, open_training_data(config.data))
    pairs = Pairs(store, read_options(config, model))
    [ids] = pairs.single_texts([3], "short")
    [sentence] = store.collection.captions(3).long  # it has one sentence
    assert ids == model.tokenizer.encode([sentence], context_length=model.context_length)[0]
    assert train(config).steps == 7


def test_equal_texts_are_refused_where_they_must_come_together(tmp_path: Path) -> None:
    config = described(tmp_path)
    rows = [json.loads(line) for line in Path(config.data[0]).read_text().splitlines()]
    lines = [json.dumps(row | ({"long": "A wall."} if i < 7 else {})) for i, row in enumerate(rows)]
    Path(config.data[0]).write_text("\n".join(lines))
    with pytest.raises(
        UsageError, match=r"7 of 21 items .* --neighbours 4; take --neighbours 3 or"
    ):
        train(config)
    assert not config.out.exists()
    assert train(replace(config, neighbours=2)).steps == 7


def test_pictures_of_several_sources_are_known_and_held_out_ones_left_out() -> None:
    whole = open_training_data(["scenes/val", "scenes/test", "scenes/val"])
    numbers = whole.picture_numbers()
    count = len(open_collection("scenes/val"))
    assert numbers[:count] == numbers[-count:]
    assert len(set(numbers)) == len(numbers) - count
    kept = hold_out(whole, 10, seed=0).training
    left = kept.picture_numbers()
    assert len(left) - len(set(left)) == sum(n == 2 for n in Counter(left).values()) > 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"neighbours": 1}, "--neighbours 1 is no group; take 2 or more"),
        ({"neighbours": 3}, "--batch-size 8 is not made of groups of --neighbours 3; .* as 9"),
        ({"neighbours_every": 5}, "--neighbours-every makes groups anew; say how large"),
    ],
)
def test_options_that_do_not_go_together(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TrainConfig(batch_size=8, **change)


def test_data_with_an_order_or_shares_of_its_own_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    config = TrainConfig(batch_size=2, neighbours=2)
    write_tar(tmp_path / "shards" / "0.tar", samples("red", "blue", "green"))
    shards = open_training_data([tmp_path / "shards"])
    with pytest.raises(UsageError, match="unpack them into a folder or a table"):
        plan_of(config, shards)
    path = tmp_path / "mix.toml"
    path.write_text('[[source]]\ndata = "scenes/val"\nweight = 1\n' * 2)
    with pytest.raises(UsageError, match="take the weights out of the mixture"):
        plan_of(config, open_training_data([path]))
