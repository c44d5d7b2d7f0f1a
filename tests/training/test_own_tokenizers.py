"""Texts in training of models with tokenizers of their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import longclip
from longclip.data import open_collection
from longclip.data.captions import TextPolicy
from longclip.errors import CheckpointError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.model.transformer import TextTower
from longclip.training import train
from longclip.training.data import Batch, Pairs, PixelStore, ReadOptions, read_options
from longclip.training.step import _blank
from tests.helpers.other_towers import write_model
from tests.helpers.training import tiny_config

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("siglip", tmp_path_factory.mktemp("siglip"))


def read_ids(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Return a list that will hold the ids that text towers read from now on."""
    read = []
    places = TextTower.read_positions

    def spy(self: TextTower, ids: torch.Tensor) -> torch.Tensor:
        read.append(ids.clone())
        return places(self, ids)

    monkeypatch.setattr(TextTower, "read_positions", spy)
    return read


def test_a_step_reads_the_ids_of_the_models_tokenizer(
    siglip: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "run"),
        model=str(siglip),
        scratch="",
        stretch="none",
        context_length=0,
        join_short=1,
        steps=1,
        workers=0,
    )
    read = read_ids(monkeypatch)
    train(config)
    model = longclip.load(siglip)
    collection = open_collection(photos)
    captions = [collection.captions(i) for i in range(len(collection))]
    texts = [text for c in captions for text in (*c.short, *c.long)]
    expected = {
        (*ids, *[model.pad_token_id] * (64 - len(ids)))
        for ids in model.tokenizer.encode(texts, context_length=64)
    }
    rows = {tuple(row) for ids in read for row in ids.tolist()}
    assert rows
    assert rows <= expected


@pytest.mark.filterwarnings("ignore::longclip.model.stretch.UntrainedWarning")
def test_a_teacher_with_a_shorter_context_reads_cut_texts_with_their_end(
    siglip: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "run"),
        model=str(siglip),
        scratch="",
        stretch="linear",
        context_length=100,
        short_texts="without-first",
        distill_weight=1.0,
        steps=1,
        workers=0,
    )
    read = read_ids(monkeypatch)
    train(config)
    rows = [tuple(row) for ids in read for row in ids.tolist()]
    taught, learned = ([row for row in rows if len(row) == length] for length in (64, 100))
    # The end of a text is id 1, and padding id 0.
    whole = [row for row in taught if row[-1] == 0]
    assert all(row[row.index(0) - 1] == 1 for row in whole)
    cut = [row for row in taught if row[-1] != 0]
    assert cut, "some are longer than the teacher's context"
    assert all(row.index(1) == 63 for row in cut)
    assert {row[:63] for row in taught} <= {row[:63] for row in learned}


def test_pieces_of_a_batch_and_what_a_teacher_reads_have_the_models_padding(
    siglip: Path, photos: Path, tmp_path: Path
) -> None:
    model = longclip.load(siglip)
    store = PixelStore(open_collection(photos), model.preprocess, 1.0)
    reading = ReadOptions(
        64, 64, TextPolicy("given"), taught=4, tokenizer=model.tokenizer, pad_token_id=0
    )
    pairs = Pairs(store, reading)
    parts = [pairs[[(0, i)]] for i in range(6)]
    batch = Batch.concatenate(parts)
    cut = {
        tuple(ids + [0] * (4 - len(ids)))
        for i in range(6)
        for ids in model.tokenizer.encode(store.collection.captions(i).short, context_length=4)
    }
    assert {tuple(row) for row in batch.plain.tolist()} <= cut
    assert any(row[-1] == 1 for row in batch.plain.tolist()), "cut texts keep their end"
    for row, part in zip(batch.long.tolist(), parts, strict=True):
        [own] = part.long.tolist()
        assert row == own + [0] * (len(row) - len(own))


def test_a_process_without_pairs_reads_an_empty_text(
    siglip: Path, photos: Path, tmp_path: Path
) -> None:
    model = longclip.load(siglip)
    blank = _blank(model, tiny_config(photos, tmp_path / "run"))
    assert np.array_equal(blank.long, model.tokenizer.encode([""]))
    assert blank.pad_token_id == model.pad_token_id


def test_no_pads_go_before_texts_of_models_that_read_their_padding(
    siglip: Path, photos: Path, tmp_path: Path
) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), pad_prefix=3)
    with pytest.raises(UsageError, match=r"--pad-prefix .* reads its padding; leave it out"):
        read_options(config, longclip.load(siglip))


def test_a_new_model_reads_texts_by_the_tokenizer_beside_its_configuration(
    siglip: Path, photos: Path, tmp_path: Path
) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "run"),
        scratch=str(siglip / "config.json"),
        stretch="none",
        context_length=0,
        steps=1,
        workers=0,
    )
    made = longclip.load(train(config).model)
    text = ["two small cats sleep"]
    assert made.tokenizer.encode(text) == longclip.load(siglip).tokenizer.encode(text)
    assert made.preprocess == longclip.load(siglip).preprocess != Preprocess(image_size=32)
    (tmp_path / "config.json").write_bytes((siglip / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        train(replace(config, scratch=str(tmp_path / "config.json"), out=tmp_path / "other"))
