"""Windows of a prompt's tokens, each of what an encoder reads at once, and what is cut off.

The programs people know cut differently. AUTOMATIC1111's web UI goes back to the last comma
within 20 tokens, and where there is none it cuts through words; ComfyUI keeps words of fewer than
eight tokens whole and looks for no punctuation.
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain, takewhile
from typing import Any, NamedTuple

from longclip.diffusion.emphasis import Section
from longclip.text.sentences import CLOSERS, TERMINALS
from longclip.text.spans import words_with_ids


@dataclass(frozen=True)
class Cut:
    """A text that is too long for a tokenizer.

    Attributes:
        tokens: how many it has, begin and end of text included.
        limit: how many are read.
        lost: what is not read, as the tokenizer writes it (lower case).
    """

    tokens: int
    limit: int
    lost: str


def find_cuts(tokenizer: Any, texts: Sequence[str]) -> list[Cut]:
    """Return what a tokenizer cuts off texts; nothing of those that fit."""
    limit = int(tokenizer.model_max_length)
    # The last token that is read is the end of text, and so is the last of all.
    return [
        Cut(len(ids), limit, as_text(tokenizer, ids[limit - 1 : -1]))
        for ids in tokenizer(list(texts), verbose=False).input_ids
        if len(ids) > limit
    ]


def warn_of_cuts(cuts: Sequence[Cut], *, remedy: str) -> None:
    """Warn once, with a PromptCut, of all cuts of a call; the same cut is named once."""
    if not cuts:
        return
    lines = [
        f"{cut.tokens} tokens, of which {cut.limit} are read; cut off: {cut.lost!r}"
        for cut in dict.fromkeys(cuts)
    ]
    message = "a prompt is too long for its text encoder: " + "; and ".join(lines)
    warnings.warn(f"{message}. {remedy}", PromptCut, stacklevel=3)


@contextmanager
def quiet_about_cuts(*modules: str) -> Iterator[None]:
    """Keep back the log lines about too long texts, of diffusers modules and of transformers.

    They come once per encoder and repeat what a PromptCut warns of.
    """
    names = [*modules, "transformers.tokenization_utils_base"]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(_not_about_cuts)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_not_about_cuts)


def _not_about_cuts(record: logging.LogRecord) -> bool:
    about = ("The following part of your input was truncated", "Token indices sequence length")
    return not record.getMessage().startswith(about)


MAX_EMPTY_TOKENS = 20
"""Tokens that a window may leave empty to end with a sentence or a comma, as in the web UI."""


class PromptCut(UserWarning):
    """A prompt is longer than its encoder reads, and its end is left out."""


class Token(NamedTuple):
    """An id in the vocabulary, and its weight."""

    id: int
    weight: float = 1.0


Tokens = tuple[Token, ...]


@dataclass(frozen=True)
class Word:
    """Tokens that stay in one window, and the text they were made from."""

    text: str
    tokens: Tokens


def split_words(tokenizer: Any, section: Section, convert: Callable[[str], str]) -> list[Word]:
    """Split a section between two BREAKs into words.

    Their tokens, one after the other, are the tokens of each piece's text. What stands together
    without a space is one word ("(cat:1.3),"), and so are the vectors of a textual inversion.

    Args:
        tokenizer: a transformers CLIPTokenizer.
        section: pieces of text with their weights.
        convert: spells out textual inversions that have several vectors ("<cat>" as
            "<cat> <cat>_1"), as a pipeline's `maybe_convert_prompt` does.
    """

    def ids_of(text: str) -> list[int]:
        # verbose: transformers would warn of a text that is too long for the model.
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    added = tokenizer.added_tokens_encoder
    # "<cat>_1", "<cat>_2" …: all but the first vector of textual inversions.
    further_vectors = {
        id_
        for token, id_ in added.items()
        if (name := re.fullmatch(r"(.+)_\d+", token)) and name[1] in added
    }
    words: list[tuple[list[str], list[Token]]] = []
    before = " "
    for piece in section:
        text = convert(piece.text)
        joins = not (before[-1].isspace() or text[:1].isspace())
        for spelled, ids in words_with_ids(text, ids_of):
            if not (words and (joins or ids[0] in further_vectors)):
                words.append(([], []))
            texts, tokens = words[-1]
            texts.append(spelled)
            tokens += (Token(id_, piece.weight) for id_ in ids)
            joins = False
        before = text or before
    return [Word("".join(texts), tuple(tokens)) for texts, tokens in words]


def cut_windows(words: Sequence[Word], capacity: int) -> list[Tokens]:
    """Return windows of at most `capacity` tokens each, in order; without words one empty window.

    A window ends with the last word that fits, or up to 20 tokens before it, where a sentence ends;
    if none ends there, where a comma is. Only a word longer than a window is cut.
    """
    left = [
        Word(word.text, word.tokens[start : start + capacity])
        for word in words
        for start in range(0, max(len(word.tokens), 1), capacity)
    ]
    windows: list[Tokens] = []
    while left:
        ends = accumulate(len(word.tokens) for word in left)
        count = sum(1 for _ in takewhile(lambda end: end <= capacity, ends))
        if count < len(left):
            count = _natural_end(left[:count])
        windows.append(tokens_of(left[:count]))
        left = left[count:]
    return windows or [()]


def tokens_of(words: Iterable[Word]) -> Tokens:
    """Return the tokens of words, one after the other."""
    return tuple(chain.from_iterable(word.tokens for word in words))


def framed(tokenizer: Any, tokens: Tokens) -> Tokens:
    """Return a window as an encoder reads it: start, tokens, end, and the tokenizer's own padding.

    Padding is the end token in SD 1 and SDXL's first encoder, and "!" in SD 2 and SDXL's second:
    cross-attention reads it, so it must be what the encoder was trained with.
    """
    whole = (Token(tokenizer.bos_token_id), *tokens, Token(tokenizer.eos_token_id))
    missing = int(tokenizer.model_max_length) - len(whole)
    assert missing >= 0
    return whole + (Token(tokenizer.pad_token_id),) * missing


def as_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of ids, for people to read.

    A copied CLIPTokenizer of transformers 5 leaves the marks of words' ends in what it decodes.
    """
    decoded: str = tokenizer.decode(ids)
    return " ".join(decoded.replace("</w>", " ").split())


def _natural_end(words: Sequence[Word]) -> int:
    """Return how many words to keep so that they end where a sentence does, or else a clause."""
    for marks in (tuple(TERMINALS), (",", ";", ":")):
        dropped = 0
        for count in range(len(words), 0, -1):
            if words[count - 1].text.rstrip(CLOSERS).endswith(marks):
                return count
            dropped += len(words[count - 1].tokens)
            if dropped > MAX_EMPTY_TOKENS:
                break
    return len(words)
