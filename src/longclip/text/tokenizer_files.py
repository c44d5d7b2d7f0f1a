"""The tokenizer as the files that Hugging Face libraries look for next to a model."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Regex, decoders, models, normalizers, processors
from tokenizers import Tokenizer as RustTokenizer

from longclip.spec import BOS, EOT
from longclip.text.tokenizer import (
    BOS_TOKEN,
    END_OF_WORD,
    EOT_TOKEN,
    bpe_model,
    clip_vocabulary,
    word_splitter,
)

# Hugging Face's own pattern. Unlike ours it reads a literal <|endoftext|> as the special token:
# the files describe the tokenizer that everybody's CLIPTokenizer is, not a better one.
_STOCK_PATTERN = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def tokenizer_json() -> str:
    """Return the content of `tokenizer.json`.

    It has no ftfy and no HTML unescaping, which the format cannot express: on mojibake and
    entities its ids differ from `tokenize`'s, as those of every Hugging Face CLIP do.
    """
    stock = _with_stock_steps(RustTokenizer(bpe_model()))
    stock.post_processor = processors.RobertaProcessing(
        (EOT_TOKEN, EOT),
        (BOS_TOKEN, BOS),
        trim_offsets=False,
        add_prefix_space=False,
    )
    stock.add_special_tokens([BOS_TOKEN, EOT_TOKEN])
    return stock.to_str()


def _with_stock_steps(backend: RustTokenizer) -> RustTokenizer:
    """Give a tokenizer the cleaning and the splitting of transformers' CLIPTokenizer."""
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = word_splitter(_STOCK_PATTERN)
    backend.decoder = decoders.ByteLevel()
    return backend


def clips_backend(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], unknown: str
) -> RustTokenizer:
    """Return transformers' CLIPTokenizer with another vocabulary; nothing is put around texts."""
    model = models.BPE(
        vocab=vocabulary,
        merges=merges,
        unk_token=unknown,
        continuing_subword_prefix="",
        end_of_word_suffix=END_OF_WORD,
    )
    return _with_stock_steps(RustTokenizer(model))


def write_tokenizer_files(directory: str | Path, context_length: int) -> None:
    """Write what `transformers.AutoTokenizer.from_pretrained(directory)` needs.

    tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocab.json and merges.txt, with
    `model_max_length` set to `context_length` and <|endoftext|> as the padding token. The directory
    is made if it is missing.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    special = {
        "bos_token": BOS_TOKEN,
        "eos_token": EOT_TOKEN,
        "pad_token": EOT_TOKEN,
        "unk_token": EOT_TOKEN,
    }
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context_length,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "do_lower_case": True,
        "errors": "replace",
        **special,
    }
    contents = {
        **_vocabulary_files(),
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
        "special_tokens_map.json": json.dumps(special, indent=2) + "\n",
    }
    for name, content in contents.items():
        # newline: on Windows the merges would else end in a carriage return, which is a character.
        (directory / name).write_text(content, encoding="utf-8", newline="\n")


@functools.cache
def _vocabulary_files() -> Mapping[str, str]:
    """Return the large files, which are the same for every model; a third of a second to make."""
    vocabulary, merges = clip_vocabulary()
    merge_lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    return {
        "tokenizer.json": tokenizer_json(),
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "\n".join(merge_lines) + "\n",
    }
