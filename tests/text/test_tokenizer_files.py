"""The written files as transformers reads them."""

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer

from longclip.text.tokenizer import clip_tokenizer, tokenize
from longclip.text.tokenizer_directory import is_clips, tokenizer_files
from longclip.text.tokenizer_files import tokenizer_json, write_tokenizer_files


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "new" / "model"
    write_tokenizer_files(path, 248)
    return path


@pytest.fixture(scope="module")
def theirs(directory: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(directory)


def test_auto_tokenizer_knows_what_it_is(theirs: Any) -> None:
    assert type(theirs).__name__ in ("CLIPTokenizer", "CLIPTokenizerFast")
    assert theirs.model_max_length == 248
    assert theirs.vocab_size == 49408
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (49406, 49407, 49407)
    assert theirs.unk_token == "<|endoftext|>"


# Every printable ASCII character but & (an HTML entity is only undone by OpenAI's cleaning).
ASCII = (string.ascii_letters + string.digits + string.punctuation + " \n\t").replace("&", "")


@given(text=st.text(alphabet=ASCII, max_size=80))
@example(text="It's a dog's life; they'll pay $12.50 at 221B Baker St.!!")
def test_same_ids_on_clean_ascii(theirs: Any, text: str) -> None:
    assert theirs(text)["input_ids"] == clip_tokenizer().encode([text])[0]


def test_padding_and_truncation(theirs: Any) -> None:
    batch = theirs(
        ["dog " * 300, "a dog"], padding="max_length", truncation=True, return_tensors="pt"
    )["input_ids"]
    assert batch.shape == (2, 248)
    assert batch.equal(tokenize(["dog " * 300, "a dog"], 248, warn=False))


def test_decoding(theirs: Any) -> None:
    ids = theirs("a dog's life")["input_ids"]
    assert theirs.decode(ids, skip_special_tokens=True) == clip_tokenizer().decode(ids)


def test_vocabulary_and_merges_alone_are_enough(directory: Path) -> None:
    """Loaders older than tokenizer.json read vocab.json and merges.txt."""
    transformers = pytest.importorskip("transformers")
    vocabulary = json.loads((directory / "vocab.json").read_text("utf-8"))
    merges = (directory / "merges.txt").read_text("utf-8").splitlines()[1:]
    assert len(vocabulary) == 49408
    assert len(merges) == 48894
    slow = transformers.CLIPTokenizer(
        vocab=vocabulary, merges=[tuple(line.split(" ")) for line in merges]
    )
    text = "A dog's life, naïve and 12.5 m long"
    assert slow(text)["input_ids"] == clip_tokenizer().encode([text])[0]


def test_tokenizer_json_needs_no_transformers(directory: Path) -> None:
    text = "two dogs &amp; a cat"
    alone = RustTokenizer.from_str(tokenizer_json())
    from_file = RustTokenizer.from_file(str(directory / "tokenizer.json"))
    assert alone.encode("two dogs").ids == clip_tokenizer().encode(["two dogs"])[0]
    assert alone.encode(text).ids == from_file.encode(text).ids
    # The documented limit of the format: entities stay what they are.
    assert alone.encode(text).ids != clip_tokenizer().encode([text])[0]


def test_special_tokens_map(directory: Path) -> None:
    special = json.loads((directory / "special_tokens_map.json").read_text("utf-8"))
    assert special["pad_token"] == special["eos_token"] == "<|endoftext|>"
    assert special["bos_token"] == "<|startoftext|>"


@pytest.mark.parametrize("left_out", ["", "tokenizer.json"])
def test_what_is_written_is_known_as_clips_without_being_read(
    directory: Path, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tokenizer_files(directory)
    contents = {name: held for name, held in files.contents.items() if name != left_out}
    monkeypatch.setattr(json, "loads", None)
    assert is_clips(replace(files, contents=contents))
