"""CLIP's byte-pair tokenizer: the ids of OpenAI's `simple_tokenizer.py`, at Rust speed.

The merges (bpe_simple_vocab_16e6.txt.gz) are OpenAI's, see THIRD_PARTY.md.
"""

import functools
import gzip
import html
import importlib.resources
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import ftfy
from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from longclip.errors import UsageError
from longclip.spec import BOS, EOT, LONG_CONTEXT, SPECIAL_TOKENS, STOCK_CONTEXT

if TYPE_CHECKING:
    import torch

BOS_TOKEN = "<|startoftext|>"
EOT_TOKEN = "<|endoftext|>"
END_OF_WORD = "</w>"

# OpenAI's pattern without its special tokens: whatever stands in a text is text. If a literal
# <|endoftext|> became the special id, the model would silently ignore everything after it.
# Case is ignored as in the original, where it still matters after lower-casing: 's matches 'ſ.
_WORD_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

# An entity no character has so many digits as. `html.unescape` makes them U+FFFD, too, up to 4,300
# digits, beyond which Python makes no number of them.
_LONG_NUMBER = re.compile(r"&#[0-9]{4300,};?")
_EMPTY_LINES = re.compile(r"\n(?: *\n)+")


def clean_text(text: str) -> str:
    """Clean a text as CLIP's training did, step by step in OpenAI's order: the ids depend on it.

    Mojibake is repaired (ftfy), HTML entities are resolved twice (web captions are often escaped
    twice: `&amp;amp;`), runs of whitespace become one space, and everything is lower-cased.
    """
    return " ".join(repair_text(text).split()).lower()


def repair_text(text: str) -> str:
    """Repair mojibake (ftfy), and resolve HTML entities twice, as OpenAI's and OpenCLIP's code."""
    # Lines are repaired one by one, which takes its time for empty ones, too.
    text = _EMPTY_LINES.sub("\n", text)
    text = _LONG_NUMBER.sub("\ufffd", ftfy.fix_text(text))
    return html.unescape(_LONG_NUMBER.sub("\ufffd", html.unescape(text)))


class TruncationWarning(UserWarning):
    """Some texts were longer than the context and lost their end."""


@dataclass(frozen=True)
class Truncation:
    """Count of the tokens of some texts that do not fit into a context.

    Tokens are counted without BOS and EOT, which are always kept.
    """

    context_length: int
    tokens_lost_per_text: tuple[int, ...]

    @property
    def texts(self) -> int:
        """Number of texts looked at."""
        return len(self.tokens_lost_per_text)

    @property
    def texts_cut(self) -> int:
        """Number of texts that lose at least one token."""
        return sum(lost > 0 for lost in self.tokens_lost_per_text)

    @property
    def tokens_lost(self) -> int:
        """Number of tokens lost by all texts together."""
        return sum(self.tokens_lost_per_text)

    def __str__(self) -> str:
        return (
            f"{self.texts_cut} of {self.texts} texts are longer than {self.context_length} tokens "
            f"and lost {self.tokens_lost} tokens at their end"
        )


class TextEncoding(Protocol):
    """Way in which one model's texts become token ids."""

    def encode(self, texts: Sequence[str], *, context_length: int | None = None) -> list[list[int]]:
        """Return one list of ids per text, whole or cut to `context_length` ids."""


@runtime_checkable
class TextTokenizer(Protocol):
    """Converter of texts to the token ids of one model."""

    def __hash__(self) -> int:
        """Return a hash, for caches of what it makes."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""

    @property
    def special_tokens(self) -> int:
        """Number of ids that every text gets beside its own, at its begin and end."""

    @property
    def end_tokens(self) -> int:
        """Number of those at its end."""

    def encode(self, texts: Sequence[str], *, context_length: int | None = None) -> list[list[int]]:
        """Return one list of ids per text, with what the model wants at its begin and end.

        A text that needs more than `context_length` ids is cut and keeps that end.

        Raises:
            UsageError: if `texts` is not a sequence of strings, or the context leaves no room.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """Return the cleaned text that `ids` stand for."""

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return one printable string per id."""


class Tokenizer:
    """Converter of texts to CLIP's token ids and back.

    Building one takes a fraction of a second: use `clip_tokenizer()`, which keeps it.
    """

    bos_token_id = BOS
    eot_token_id = EOT
    special_tokens = SPECIAL_TOKENS
    end_tokens = 1

    def __init__(self) -> None:
        self._backend = RustTokenizer(bpe_model())
        self._backend.pre_tokenizer = word_splitter(_WORD_PATTERN)
        vocabulary = self._backend.get_vocab()
        self._symbols = sorted(vocabulary, key=vocabulary.__getitem__)
        self._byte_of = {symbol: byte for byte, symbol in _byte_symbols().items()}

    @property
    def vocab_size(self) -> int:
        """Number of ids, the two special ones included: 49,408."""
        return len(self._symbols)

    def encode(self, texts: Sequence[str], *, context_length: int | None = None) -> list[list[int]]:
        """Return one list of ids per text: BOS, the text, EOT.

        A text that needs more than `context_length` ids is cut and still ends in EOT. Nothing is
        said about it: `tokenize` warns, `truncation` counts.

        Raises:
            ValueError: if `texts` is not a sequence of strings or `context_length` is below 3.
        """
        if context_length is not None:
            _check_context_length(context_length)
        cleaned = list(map(clean_text, list_of_texts(texts)))
        room = None if context_length is None else context_length - SPECIAL_TOKENS
        return [
            [BOS, *encoding.ids[:room], EOT]
            for encoding in self._backend.encode_batch_fast(cleaned, add_special_tokens=False)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the cleaned text that `ids` stand for, words and punctuation separated by spaces.

        BOS, EOT and padding are left out; bytes that are not valid UTF-8 become U+FFFD.
        """
        words = (id for id in ids if id not in (BOS, EOT))
        return b"".join(map(self._bytes, words)).decode("utf-8", errors="replace").strip()

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return one printable string per id; the last piece of a word ends in a space.

        A character that is split over several ids shows as U+FFFD in each of them.
        """
        return [self._bytes(id).decode("utf-8", errors="replace") for id in ids]

    def _bytes(self, id: int) -> bytes:
        if not 0 <= id < len(self._symbols):
            raise UsageError(f"token id {id} is not in CLIP's vocabulary of {self.vocab_size} ids")
        symbol = self._symbols[id]
        if id in (BOS, EOT):
            return symbol.encode()
        stem = symbol.removesuffix(END_OF_WORD)
        space = b" " if stem != symbol else b""
        return bytes(self._byte_of[char] for char in stem) + space


@functools.cache
def clip_tokenizer() -> Tokenizer:
    """Return the one tokenizer of this process."""
    return Tokenizer()


def list_of_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list.

    Raises:
        UsageError: if one of them is no string, or they are one.
    """
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        kind = type(texts).__name__
        raise UsageError(f"encode takes a list of texts, not {kind}: write encode([text])")
    for place, text in enumerate(texts := list(texts)):
        if not isinstance(text, str):
            raise UsageError(
                f"texts[{place}] is {type(text).__name__} ({text!r:.60}), not a string; "
                "leave missing captions out, and turn numbers into strings"
            )
    return texts


def tokenize(
    texts: str | Sequence[str],
    context_length: int = LONG_CONTEXT,
    *,
    warn: bool = True,
    tokenizer: TextTokenizer | None = None,
    pad_token_id: int = EOT,
) -> "torch.Tensor":
    """Return token ids for a CLIP text tower: int64 [N, longest], padded with EOT (49407).

    `longest` is the longest text of this call, at most `context_length`. The towers are causal and
    pool at the first EOT, so padding further would only cost time. For models with another
    vocabulary pass their `tokenizer` (`CLIP.tokenizer`) and their id of padding.

    Warns:
        TruncationWarning: if texts had to be cut, unless `warn` is false.

    Raises:
        ValueError: if there are no texts, if one is not a string, or if `context_length` is
            below 3 (BOS, one token, EOT).
    """
    import torch

    tokenizer = tokenizer or clip_tokenizer()
    kept = fitting_ids(texts, context_length, tokenizer, warn=warn, stacklevel=3)
    if not kept:
        raise UsageError("there is nothing to tokenize: texts is empty")
    ids_NL = torch.full((len(kept), max(map(len, kept))), pad_token_id, dtype=torch.int64)
    for row, ids in zip(ids_NL, kept, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return ids_NL


def fitting_ids(
    texts: str | Sequence[str],
    context_length: int,
    tokenizer: TextTokenizer,
    *,
    warn: bool = True,
    stacklevel: int = 2,
) -> list[list[int]]:
    """Return one list of at most `context_length` ids per text.

    Warns:
        TruncationWarning: if texts had to be cut, unless `warn` is false.

    Raises:
        ValueError: as `tokenize`, except that an empty list is fine.
    """
    _check_context_length(context_length)
    encoded = tokenizer.encode([texts] if isinstance(texts, str) else texts)
    lost = _count_truncation(encoded, context_length)
    if warn and lost.texts_cut:
        warnings.warn(
            f"{lost}; use a model with a longer context (`longclip stretch` makes one from any "
            "CLIP) or shorter texts",
            TruncationWarning,
            stacklevel=stacklevel,
        )
    return [cut_ids(ids, context_length, tokenizer.end_tokens) for ids in encoded]


def own_ids(tokenizer: TextTokenizer, ids: list[int]) -> list[int]:
    """Return the ids of a text's own tokens, without what stands at its begin and end."""
    return ids[tokenizer.special_tokens - tokenizer.end_tokens : len(ids) - tokenizer.end_tokens]


def cut_ids(ids: list[int], context_length: int, end_tokens: int) -> list[int]:
    """Cut the ids of a text to a context, and keep those that mark its end."""
    if len(ids) <= context_length:
        return ids
    return ids[: context_length - end_tokens] + ids[len(ids) - end_tokens :]


def truncation(
    texts: str | Sequence[str],
    context_length: int = LONG_CONTEXT,
    *,
    tokenizer: TextEncoding | None = None,
) -> Truncation:
    """Count what `tokenize(texts, context_length)` would cut off.

    Raises:
        ValueError: as `tokenize`, except that an empty list is fine.
    """
    _check_context_length(context_length)
    tokenizer = tokenizer or clip_tokenizer()
    encoded = tokenizer.encode([texts] if isinstance(texts, str) else texts)
    return _count_truncation(encoded, context_length)


@functools.cache
def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's symbols with their ids, and its merges in order of priority. Not to be changed.

    The ids count up through the 256 byte symbols, the same at the end of a word, what each merge
    makes, BOS and EOT.
    """
    packed = importlib.resources.files(__package__) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(packed.read_bytes()).decode("utf-8").splitlines()
    # The first line is a version; the file holds more merges than CLIP's vocabulary uses.
    merges = [(left, right) for left, right in map(str.split, lines[1 : 48894 + 1])]
    symbols = list(_byte_symbols().values())
    symbols += [symbol + END_OF_WORD for symbol in symbols]
    symbols += [left + right for left, right in merges]
    symbols += [BOS_TOKEN, EOT_TOKEN]
    assert len(set(symbols)) == EOT + 1
    return {symbol: id for id, symbol in enumerate(symbols)}, merges


def bpe_model() -> models.BPE:
    """Return CLIP's merges as a model of the `tokenizers` library."""
    vocabulary, merges = clip_vocabulary()
    return models.BPE(
        vocab=vocabulary,
        merges=merges,
        unk_token=EOT_TOKEN,
        continuing_subword_prefix="",
        end_of_word_suffix=END_OF_WORD,
    )


def word_splitter(pattern: str) -> pre_tokenizers.Sequence:
    """Split a text into the matches of `pattern`, and writes their bytes as printable symbols."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _byte_symbols() -> dict[int, str]:
    """Return a printable character for each byte, in the order of CLIP's ids (GPT-2's scheme).

    Bytes that are printable in Latin-1 stand for themselves and come first; the others are numbered
    from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(0x100 + place) for place, byte in enumerate(hidden)
    }


def _count_truncation(encoded: list[list[int]], context_length: int) -> Truncation:
    return Truncation(
        context_length=context_length,
        tokens_lost_per_text=tuple(max(0, len(ids) - context_length) for ids in encoded),
    )


def _check_context_length(context_length: int) -> None:
    if context_length < 3:
        raise UsageError(
            f"--context-length is {context_length}; it must be at least 3 (BOS, one token, EOT), "
            f"{STOCK_CONTEXT} for a stock CLIP, {LONG_CONTEXT} for a stretched one"
        )
