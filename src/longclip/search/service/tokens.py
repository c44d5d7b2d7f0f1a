"""How many tokens a text has, and where a model stops reading it."""

from dataclasses import dataclass

from longclip.search.query.pieces import count_tokens
from longclip.spec import SPECIAL_TOKENS, STOCK_CONTEXT
from longclip.text.spans import word_spans


@dataclass(frozen=True)
class TokenCuts:
    """Numbers to be shown beside a text.

    Attributes:
        count: tokens, begin and end included.
        cut_77: where CLIP's 77 tokens end, None where they hold the whole text; see `cut_at`.
        cut: where this model's context ends, likewise.
    """

    count: int
    cut_77: int | None
    cut: int | None


def token_cuts(text: str, context_length: int) -> TokenCuts:
    """Count the tokens of a text and find its cuts."""
    count = count_tokens(text)
    cuts = [
        cut_at(text, limit) if count > limit else None for limit in (STOCK_CONTEXT, context_length)
    ]
    return TokenCuts(count, *cuts)


def cut_at(text: str, context_length: int) -> int:
    """Return the index of the first word that a model of that context does not read to its end."""
    return word_spans(text).unread_start(context_length - SPECIAL_TOKENS)
