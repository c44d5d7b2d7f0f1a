"""SentencePiece models are read as SentencePiece's own library reads them."""

import contextlib
import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from longclip.errors import CheckpointError
from longclip.text.file_tokenizer import FileTokenizer
from longclip.text.sentencepiece import read_model
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers.sentencepiece_cases import CASES
from tests.helpers.sentencepiece_cases import recorded_model as model_of

RECORDED = json.loads(CASES.read_text())
NAMES = list(RECORDED["models"])


def opened(folder: Path, file: str, content: bytes, **config: Any) -> FileTokenizer:
    (folder / file).write_bytes(content)
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer_files(folder).tokenizer


def message(number: int, value: int | bytes) -> bytes:
    """Return a field of a protocol buffer, of up to 127 bytes."""
    if isinstance(value, int):
        return bytes([*varint(number << 3), *varint(value)])
    return bytes([*varint(number << 3 | 2), *varint(len(value))]) + value


def varint(value: int) -> list[int]:
    return [value & 127 | 128, *varint(value >> 7)] if value > 127 else [value]


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_the_library(name: str) -> None:
    texts, expected = RECORDED["texts"], RECORDED["models"][name]["ids"]
    assert len(texts) >= 200
    model = read_model(Path("spiece.model"), model_of(name))
    ours = FileTokenizer(model.backend(), normalize=model.normalize)
    for text, ids in zip(texts, expected, strict=True):
        assert ours.encode([text]) == [ids], ascii(text)
    assert ours.encode(texts) == expected


@pytest.mark.parametrize("kind", ["T5Tokenizer", "T5TokenizerFast", "SiglipTokenizer", None])
def test_t5_and_siglip_end_texts(kind: str | None, tmp_path: Path) -> None:
    ours = opened(tmp_path, "spiece.model", model_of("T5"), tokenizer_class=kind)
    expected = RECORDED["models"]["T5"]["ids"]
    assert ours.encode(RECORDED["texts"]) == [[*ids, 1] for ids in expected]
    assert (ours.special_tokens, ours.end_tokens) == (1, 1)
    assert ours.decode(ours.encode(["two small cats"])[0]) == "two small cats"
    assert ours.pieces([1, *ours.encode(["a dog"])[0][:1]]) == ["</s>", " a"]


@pytest.mark.parametrize("kind", ["XLMRobertaTokenizer", None])
def test_xlm_has_other_ids_for_the_same_pieces(kind: str | None, tmp_path: Path) -> None:
    """Of its four first ids two are special ones that SentencePiece has elsewhere (fairseq)."""
    config = {"tokenizer_class": kind} if kind else {}
    ours = opened(tmp_path, "sentencepiece.bpe.model", model_of("usual"), **config)
    expected = [
        [0, *(3 if id == 0 else id + 1 for id in ids), 2]
        for ids in RECORDED["models"]["usual"]["ids"]
    ]
    assert ours.encode(RECORDED["texts"]) == expected
    assert ours.pieces([0, 1, 2, 3, ours.vocab_size - 1]) == [
        *("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    ]
    assert ours.vocab_size == len(read_model(Path("m"), model_of("usual")).pieces) + 2


def test_what_the_configuration_wants_around_texts(tmp_path: Path) -> None:
    ours = opened(
        tmp_path, "spiece.model", model_of("T5"), tokenizer_class="T5Tokenizer", add_eos_token=False
    )
    assert ours.encode(["a dog"])[0][-1] != 1
    with pytest.raises(CheckpointError, match="'<bos>' is not in the vocabulary"):
        opened(
            tmp_path,
            "spiece.model",
            model_of("T5"),
            tokenizer_class="T5Tokenizer",
            add_bos_token=True,
            bos_token="<bos>",
        )


@pytest.mark.parametrize(
    ("file", "config", "says"),
    [
        ("spiece.model", {"tokenizer_class": "AlbertTokenizer"}, "is read by AlbertTokenizer, and"),
        ("tokenizer.model", {}, "is read by a class that no tokenizer_config.json names"),
        (
            "spiece.model",
            {"tokenizer_class": "SiglipTokenizer", "do_lower_case": False},
            "do_lower_case is False",
        ),
        ("spiece.model", {"sp_model_kwargs": {"enable_sampling": True}}, "sp_model_kwargs is"),
        (
            "sentencepiece.bpe.model",
            {"tokenizer_class": "XLMRobertaTokenizer", "add_prefix_space": False},
            "add_prefix_space is False",
        ),
    ],
)
def test_other_classes_and_options_are_refused(
    file: str, config: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"{says}.*tokenizer.json of this model"):
        opened(tmp_path, file, model_of("T5"), **config)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (message(2, message(3, 2)), "is a model of BPE"),
        (message(2, message(3, 4)), "is a model of characters"),
        (message(2, message(24, 1)), "treat_whitespace_as_suffix is true"),
        (message(3, message(5, 0)), "escape_whitespaces is false"),
    ],
)
def test_what_is_not_computed_is_refused(more: bytes, says: str) -> None:
    with pytest.raises(CheckpointError, match=rf"spiece\.model.*{says}.*tokenizer\.json"):
        read_model(Path("spiece.model"), model_of("usual") + more)


def test_a_sentencepiece_model_goes_before_tokenizer_json_for_siglips_class_alone(
    tmp_path: Path,
) -> None:
    """Transformers' SiglipTokenizer reads no other file."""
    (tmp_path / "tokenizer.json").write_text("{}")
    assert opened(tmp_path, "spiece.model", model_of("T5"), tokenizer_class="SiglipTokenizer")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is no tokenizer"):
        opened(tmp_path, "spiece.model", model_of("T5"), tokenizer_class="T5Tokenizer")


def test_damage_is_named() -> None:
    whole, dice, path = model_of("usual"), random.Random(0), Path("spiece.model")
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            # Behind the pieces there are many numbers of which each is as good as another.
            content[dice.randrange(3000)] = dice.randrange(256)
        cut = dice.randrange(len(content)) if dice.random() < 0.3 else len(content)
        with contextlib.suppress(CheckpointError):
            refused += 1
            model = read_model(path, bytes(content[:cut]))
            FileTokenizer(model.backend(), normalize=model.normalize).encode(RECORDED["texts"][:60])
            refused -= 1
    assert refused > 100


def test_a_charsmap_that_leads_outside_is_refused() -> None:
    unit = (1 << 10) | (1 << 8)
    trie = struct.pack("<3I", 1 << 30, unit | ord("a"), unit)
    for charsmap in (b"\xff\xff\xff\x7f", b"\0\0\0\0", struct.pack("<I", 12) + trie):
        content = model_of("usual") + message(3, message(2, charsmap))
        with pytest.raises(CheckpointError, match="precompiled_charsmap is damaged"):
            read_model(Path("spiece.model"), content).normalize("abc")


def test_what_is_normalised_otherwise_is_known_as_another() -> None:
    def digest(more: bytes) -> str:
        model = read_model(Path("m"), model_of("usual") + more)
        return FileTokenizer(model.backend(), normalize=model.normalize).digest

    assert digest(b"") == digest(b"")
    assert (
        len({digest(b""), digest(message(3, message(3, 0))), digest(message(3, message(4, 0)))})
        == 3
    )
