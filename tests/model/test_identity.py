"""The digest of a model: it changes if and only if embeddings do."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import longclip
from longclip.encoders.clip_encoder import CLIPEncoder
from longclip.errors import CheckpointError
from longclip.model.convert import convert
from longclip.model.identity import model_digest
from tests.helpers.models import small_clip
from tests.helpers.other_towers import write_model

pytest.importorskip("transformers")

TOKENIZER = "tokenizer.json"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("siglip", tmp_path_factory.mktemp("siglip"))


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def digest(directory: Path) -> str:
    return model_digest(longclip.load(directory))


def reformat(directory: Path) -> None:
    """Write it as another version of the library might: fields in another order, some left out."""
    content = json.loads((directory / TOKENIZER).read_text())
    content = {"normalizer": content.pop("normalizer"), **content}
    del content["model"]["byte_fallback"], content["truncation"], content["version"]
    # How Metaspace was written before prepend_scheme.
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    (directory / TOKENIZER).write_text(json.dumps(content, indent=7, ensure_ascii=True))


def cut_and_pad(directory: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        cut = {"max_length": 16, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
        content["truncation"] = cut
        content["decoder"] = None

    edit(directory / TOKENIZER, change)


def describe_otherwise(directory: Path) -> None:
    edit(directory / "tokenizer_config.json", lambda c: c.update(model_max_length=512, legacy=True))
    (directory / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
    (directory / "spiece.model").write_bytes(b"what tokenizer.json was made from")

    def change(content: dict[str, Any]) -> None:
        content["transformers_version"] = "4.99"
        content["vision_config"]["num_channels"] = 3
        del content["vision_config"]["attention_dropout"]

    edit(directory / "config.json", change)


@pytest.mark.parametrize("rewrite", [reformat, cut_and_pad, describe_otherwise])
def test_files_of_the_same_meaning_give_the_same(
    directory: Path, rewrite: Callable[[Path], None]
) -> None:
    before, texts = digest(directory), longclip.load(directory).token_ids("two small cats")
    written = {path: path.read_bytes() for path in directory.iterdir()}
    rewrite(directory)
    assert {path: path.read_bytes() for path in directory.iterdir()} != written
    assert longclip.load(directory).token_ids("two small cats").equal(texts)
    assert digest(directory) == before


def swap_two_pieces(directory: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        pieces = content["model"]["vocab"]
        one, other = (i for i, (piece, _) in enumerate(pieces) if piece in ("▁17", "▁18"))
        pieces[one], pieces[other] = pieces[other], pieces[one]

    edit(directory / TOKENIZER, change)


def lower(directory: Path) -> None:
    edit(directory / TOKENIZER, lambda c: c.update(normalizer={"type": "Lowercase"}))


def begin(directory: Path) -> None:
    change = {"add_bos_token": True, "bos_token": "<s>"}
    edit(directory / "tokenizer_config.json", lambda c: c.update(change))


def pad_otherwise(directory: Path) -> None:
    edit(directory / "tokenizer_config.json", lambda c: c.update(pad_token="<unk>"))


def normalize_pixels_otherwise(directory: Path) -> None:
    edit(directory / "preprocessor_config.json", lambda c: c.update(image_mean=[0.4] * 3))


def compute_otherwise(directory: Path) -> None:
    edit(directory / "config.json", lambda c: c["vision_config"].update(layer_norm_eps=1e-5))


@pytest.mark.parametrize(
    "change",
    [
        swap_two_pieces,
        lower,
        begin,
        pad_otherwise,
        normalize_pixels_otherwise,
        compute_otherwise,
    ],
)
def test_what_changes_embeddings_changes_it(
    directory: Path, change: Callable[[Path], None]
) -> None:
    before = digest(directory)
    change(directory)
    assert digest(directory) != before


def test_how_texts_are_cleaned_changes_it(directory: Path) -> None:
    model = longclip.load(directory)
    before = model_digest(model)
    assert model.tokenizer_files
    model.tokenizer_files = replace(model.tokenizer_files, cleaning=("lower",))
    assert model_digest(model) != before


def test_every_weight_changes_it_but_those_of_similarities(directory: Path) -> None:
    model = longclip.load(directory)
    before = model_digest(model)
    for name in model.state_dict():
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.state_dict()[name].add_(1)
        similarity = name in ("logit_scale", "logit_bias")
        assert (model_digest(other) == before) is similarity, name


def test_the_layout_that_a_model_is_saved_in_does_not_change_it(tmp_path: Path) -> None:
    model = small_clip()
    longclip.save(model, tmp_path / "model")
    convert(str(tmp_path / "model"), tmp_path / "other", "openclip")
    assert longclip.load(tmp_path / "other").config.own is None
    assert digest(tmp_path / "other") == model_digest(model)


def test_a_missing_tokenizer_is_named(directory: Path) -> None:
    (directory / TOKENIZER).unlink()
    with pytest.raises(CheckpointError, match=r"model has no tokenizer\.json"):
        digest(directory)


def test_cached_embeddings_are_not_those_of_another_tokenizer(directory: Path) -> None:
    before = CLIPEncoder(longclip.load(directory), "model").fingerprint
    assert CLIPEncoder(longclip.load(directory), "model").fingerprint == before
    swap_two_pieces(directory)
    assert CLIPEncoder(longclip.load(directory), "model").fingerprint != before
