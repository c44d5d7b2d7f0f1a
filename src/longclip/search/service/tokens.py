"""How many tokens a text has, and where a model stops reading it."""

import re
from dataclasses import dataclass
from itertools import accumulate

from longclip.inputs import clip_tokenizer

CLIP_CONTEXT = 77
_BEGIN_AND_END = 2


@dataclass(frozen=True)
class TokenCount:
    """What is to be shown beside a text.

    Attributes:
        count: tokens, begin and end included.
        cut_77: where CLIP's 77 tokens end, None where they hold the whole text; see `cut_at`.
        cut: where this model's context ends, likewise.
    """

    count: int
    cut_77: int | None
    cut: int | None


def count_tokens(text: str, context_length: int) -> TokenCount:
    """Tokens of `text`, and its cuts."""
    count = len(clip_tokenizer().encode([text])[0])
    cuts = [
        cut_at(text, limit) if count > limit else None for limit in (CLIP_CONTEXT, context_length)
    ]
    return TokenCount(count, *cuts)


def cut_at(text: str, context_length: int) -> int:
    """The index of the first word that a model of that context does not read to its end."""
    words = list(re.finditer(r"\S+", text))
    # Tokens never reach over a space, so words have the same ones alone and in the text.
    ids = clip_tokenizer().encode([word.group() for word in words])
    ends = accumulate(len(word) - _BEGIN_AND_END for word in ids)
    room = context_length - _BEGIN_AND_END
    unread = (word.start() for word, end in zip(words, ends, strict=True) if end > room)
    return next(unread, len(text))
