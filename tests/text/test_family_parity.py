"""Tokens of MetaCLIP 2, SigLIP and SigLIP 2 on odd texts, held against transformers' own classes.

Their vocabularies are small ones; the steps around them are the families'.
"""

from pathlib import Path
from typing import Any

import pytest

from longclip.text.cleaning import Cleaning
from longclip.text.sentencepiece import Piece, _fields, read_model
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers.openclip_library import open_clip
from tests.helpers.sentencepiece_cases import odd_texts, recorded_model

transformers = pytest.importorskip("transformers")

# What is written in a text is text here, and a special token there.
TEXTS = [text for text in odd_texts() if "<unk>" not in text and "s>" not in text]


def unigram(name: str) -> tuple[list[Piece], bytes]:
    """Return the pieces of a recorded model, and its rules of normalisation."""
    content = recorded_model(name)
    [fields] = [dict(_fields(value)) for number, value in _fields(content) if number == 3]  # type: ignore[arg-type]
    rules = fields[2]
    assert isinstance(rules, bytes)
    return list(read_model(Path(name), content).pieces), rules


def assert_parity(theirs: Any, directory: Path, cleaning: Cleaning = (), clean: Any = str) -> None:
    theirs.save_pretrained(directory)
    ours = tokenizer_files(directory, cleaning).tokenizer
    assert len(TEXTS) > 200
    for text in TEXTS:
        assert ours.encode([text]) == [theirs(clean(text))["input_ids"]], ascii(text)


def test_metaclip_2(tmp_path: Path) -> None:
    pieces, rules = unigram("usual")
    vocabulary = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += [(piece.text, piece.score) for piece in pieces[3:]]
    theirs = transformers.XLMRobertaTokenizer(
        vocab=[*vocabulary, ("<mask>", 0.0)], _spm_precompiled_charsmap=rules
    )
    assert_parity(theirs, tmp_path)


def test_siglip(tmp_path: Path) -> None:
    pieces, rules = unigram("T5")
    theirs = transformers.T5Tokenizer(
        vocab=[(piece.text, piece.score) for piece in pieces],
        _spm_precompiled_charsmap=rules,
        extra_ids=0,
    )
    assert_parity(
        theirs, tmp_path, ("canonicalize",), clean=open_clip().tokenizer.canonicalize_text
    )


def test_siglip_2(tmp_path: Path) -> None:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefghijklmnoprst日本語é"]
    merges = [("a", "t"), ("c", "at"), ("▁", "cat"), ("d", "o"), ("do", "g"), ("▁", "dog")]
    merges += [("t", "h"), ("th", "e"), ("▁", "the"), ("日", "本"), ("r", "e"), ("re", "d")]
    names += ["".join(pair) for pair in merges]
    theirs = transformers.Siglip2Tokenizer(
        vocab={name: id for id, name in enumerate(names)}, merges=merges, add_eos_token=True
    )
    assert_parity(theirs, tmp_path, ("lower",))
    assert theirs("A DOG")["input_ids"] == theirs("a dog")["input_ids"]
