"""Pieces of a text of any length that a model can read, and their combined embedding.

A mean of embeddings knows nothing of how sentences refer to one another, and half a sentence may
say the opposite of the whole: so pieces are windows of whole sentences, as long as the model reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from longclip.encoders.model_encoder import unit
from longclip.text.sentences import split_sentences
from longclip.text.tokenizer import TextTokenizer, clip_tokenizer


@dataclass(frozen=True)
class Pieces:
    """A text in parts that each fit into the context.

    Attributes:
        texts: the parts in their order; the whole text where it fits, nothing where it is empty.
        tokens: of each part, without begin and end of text.
        ids: of each part, with them, so that whoever embeds it need not make them again.
    """

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    ids: tuple[tuple[int, ...], ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class _Level:
    """A way to take a text apart, and what stands between the parts."""

    split: Callable[[str], list[str]]
    joint: str


# Some scripts have no spaces: there a paragraph may be one word to us.
_LEVELS = (_Level(split_sentences, " "), _Level(str.split, " "), _Level(list, ""))


def split_text(text: str, context_length: int, tokenizer: TextTokenizer | None = None) -> Pieces:
    """Divide a text into pieces of whole sentences, as many to a piece as fit.

    A sentence that is longer than the context is cut between words, a longer word between
    characters.

    Args:
        text: any text.
        context_length: tokens that the model reads, begin and end included.
        tokenizer: the model's; CLIP's by default.
    """
    text = text.strip()
    if not text:
        return Pieces((), ())
    tokenizer = tokenizer or clip_tokenizer()
    most = context_length - tokenizer.special_tokens
    texts, ids = zip(*_fitting(text, most, most, tokenizer), strict=True)
    return Pieces(texts, tuple(len(each) - tokenizer.special_tokens for each in ids), ids)


def count_tokens(text: str, tokenizer: TextTokenizer | None = None) -> int:
    """Count the tokens of a text, begin and end included; CLIP's by default."""
    [ids] = (tokenizer or clip_tokenizer()).encode([text])
    return len(ids)


def combined_embedding(vectors: NDArray[np.float32], pieces: Pieces) -> NDArray[np.float32]:
    """Return one embedding of length one: the pieces' mean, weighted by their tokens.

    Args:
        vectors: float32 [len(pieces.texts), D], of any length but zero.
        pieces: what they are the embeddings of.

    Returns:
        float32 [D].
    """
    # A text of which cleaning leaves nothing still has its embedding.
    weights = np.maximum(np.array(pieces.tokens, np.float32), 1)
    return unit((unit(vectors) * weights[:, None]).sum(0))


def _fitting(
    text: str, most: int, aim: int, tokenizer: TextTokenizer
) -> list[tuple[str, tuple[int, ...]]]:
    """Return pieces of at most `most` tokens, and their ids; they are packed to `aim`."""
    [ids] = tokenizer.encode([text])
    if len(ids) - tokenizer.special_tokens <= most or len(text) == 1:
        return [(text, tuple(ids))]
    # Cleaning repairs a text as a whole: parts may have fewer tokens alone than together. Where
    # a piece is too long after all, it is packed again, and looser.
    return [
        piece
        for part, _ in _packed(text, aim, _LEVELS, tokenizer)
        for piece in _fitting(part, most, aim // 2, tokenizer)
    ]


def _packed(
    text: str, most: int, levels: Sequence[_Level], tokenizer: TextTokenizer
) -> list[tuple[str, int]]:
    """Pack greedily from the left, which makes as few pieces of neighbouring parts as can be."""
    level, *finer = levels
    parts = level.split(text)
    pieces: list[tuple[str, int]] = []
    for part, count in zip(parts, _counts(parts, tokenizer), strict=True):
        if count > most and finer:
            pieces += _packed(part, most, finer, tokenizer)
        elif pieces and pieces[-1][1] + count <= most:
            last, before = pieces[-1]
            pieces[-1] = (last + level.joint + part, before + count)
        else:
            pieces.append((part, count))
    return pieces


def _counts(texts: Sequence[str], tokenizer: TextTokenizer) -> list[int]:
    """Count the tokens of each, without begin and end; those of parts nearly add up."""
    return [len(ids) - tokenizer.special_tokens for ids in tokenizer.encode(texts)]
