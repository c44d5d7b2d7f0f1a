"""A vocabulary of its own as vocab.json and merges.txt, as older directories of CLIPs hold it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from longclip.errors import CheckpointError
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers.sentencepiece_cases import odd_texts

WORDS = "a red dog runs over the green grass while two small cats sleep naïve 日本語 мир don't 12.5"
SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        special_tokens=[*SPECIAL.values()],
    )
    tokenizer.train_from_iterator([WORDS] * 20, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    # The trainer makes no ends of words of what it has not seen.
    vocabulary = model["vocab"]
    for symbol in alphabet:
        vocabulary.setdefault(symbol + "</w>", len(vocabulary))
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n")
    config: dict[str, Any] = {"tokenizer_class": "CLIPTokenizer", **SPECIAL}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_ids_are_those_of_transformers(directory: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTokenizer.from_pretrained(directory)
    ours = tokenizer_files(directory).tokenizer
    texts = [*odd_texts(), "A RED dog's life; they'll pay $12.50"]
    assert len(texts) > 200
    for text in texts:
        assert ours.encode([text]) == [theirs(text)["input_ids"]], ascii(text)
    assert ours.vocab_size == len(theirs)


def test_special_tokens_that_are_written_are_text(directory: Path) -> None:
    ours = tokenizer_files(directory).tokenizer
    [ids] = ours.encode(["a<|endoftext|>b"])
    assert ids.count(ours.encode([""])[0][-1]) == 1


def test_another_class_and_damage_are_named(directory: Path) -> None:
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    with pytest.raises(CheckpointError, match="of a GPT2Tokenizer, and only those of a CLIPTok"):
        tokenizer_files(directory).tokenizer  # noqa: B018
    (directory / "tokenizer_config.json").unlink()
    assert tokenizer_files(directory).tokenizer
    (directory / "merges.txt").write_text("a b c\n")
    with pytest.raises(CheckpointError, match=r"merges\.txt are no CLIPTokenizer's"):
        tokenizer_files(directory).tokenizer  # noqa: B018
    (directory / "vocab.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"vocab\.json and merges\.txt are no CLIP"):
        tokenizer_files(directory).tokenizer  # noqa: B018
