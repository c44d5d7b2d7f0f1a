"""Ends of tokens in a text: which of its words an encoder reads."""

import bisect
import functools
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from longclip.text.tokenizer import TextTokenizer, clip_tokenizer, own_ids

_WORDS_AHEAD = 16
"""Words behind the first that does not fit, of which one may fit again; see `longest_fit`."""


@dataclass(frozen=True)
class WordSpans:
    """The words of a text, which are what stands between spaces, and its tokens up to each.

    Begin and end of text are not counted.

    Attributes:
        text: the text.
        tokenizer: whose tokens they are.
        starts: the index of each word's first character.
        ends: the index behind its last.
        sums: tokens up to each word, where these are the sums of the words' own; None where a
            repair reaches over a space, and they have to be counted in the text.
    """

    text: str
    tokenizer: TextTokenizer
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    sums: tuple[int, ...] | None

    def tokens(self, words: int) -> int:
        """Return the number of tokens of the first so many words: of `text[:ends[words - 1]]`."""
        if not words:
            return 0
        if self.sums is not None:
            return self.sums[words - 1]
        [ids] = self.tokenizer.encode([self.text[: self.ends[words - 1]]])
        return len(ids) - self.tokenizer.special_tokens

    def read_end(self, tokens: int) -> int:
        """Return where the words that fit end: `text[:n]` is the longest part of whole words.

        All of the text where all of its words fit.
        """
        fitting = longest_fit(self.tokens, len(self.ends), tokens)
        if fitting == len(self.ends):
            return len(self.text)
        return self.ends[fitting - 1] if fitting else 0

    def unread_start(self, tokens: int) -> int:
        """Return where the first word stands that is not read to its end; else the length."""
        fitting = longest_fit(self.tokens, len(self.ends), tokens)
        return self.starts[fitting] if fitting < len(self.starts) else len(self.text)


def longest_fit(count: Callable[[int], int], parts: int, tokens: int) -> int:
    """Return how many leading parts of a text fit: the largest n ≤ parts with count(n) ≤ tokens.

    Args:
        count: tokens of the first n parts; called for some n from 1 to `parts`.
        parts: of the text.
        tokens: that they may have.
    """
    fitting = bisect.bisect_right(range(1, parts + 1), tokens, key=count)
    # More parts may have fewer tokens. No token of BPE reaches over a space, but cleaning does:
    # it repairs broken encodings, as soon as they are whole, over the few words that each of them
    # takes. So the last that fits counts, not the first that fails.
    ahead = fitting
    while ahead < min(fitting + _WORDS_AHEAD, parts):
        ahead += 1
        if count(ahead) <= tokens:
            fitting = ahead
    return fitting


def word_spans(text: str, tokenizer: TextTokenizer | None = None) -> WordSpans:
    """Find the words of a text and how many tokens they add up to; CLIP's by default.

    A distinct word is tokenized once per process, so thousands of texts are a matter of seconds.
    """
    tokenizer = tokenizer or clip_tokenizer()
    words = list(re.finditer(r"\S+", text))
    ids = [_word_ids(tokenizer, word.group()) for word in words]
    # What the cleaning repairs (mojibake, entities) may reach over a space.
    whole = own_ids(tokenizer, tokenizer.encode([text])[0])
    adds_up = [*itertools.chain.from_iterable(ids)] == whole
    return WordSpans(
        text,
        tokenizer,
        starts=tuple(word.start() for word in words),
        ends=tuple(word.end() for word in words),
        sums=tuple(itertools.accumulate(map(len, ids))) if adds_up else None,
    )


def words_with_ids(
    text: str, encode: Callable[[str], list[int]]
) -> Iterator[tuple[str, list[int]]]:
    """Yield what stands between spaces, with its ids; together these are the ids of the whole text.

    A word's own ids are nearly always those that it has in the text. Where they are not, it is
    taken together with what follows: a textual inversion's name may hold a space, and tokenizers
    that repair broken encodings look further than one word.
    """
    ids = encode(text)
    together: list[str] = []
    start = 0
    for word in text.split():
        together.append(word)
        # Repairs take a few words. Beyond those each attempt has twice as many, so that a text
        # whose words never have its ids is not encoded once for each of its words.
        if len(together) > _WORDS_AHEAD and len(together).bit_count() > 1:
            continue
        spelled = " ".join(together)
        own = encode(spelled)
        if own == ids[start : start + len(own)]:
            if own:
                yield spelled, own
            together, start = [], start + len(own)
    if start < len(ids):
        yield " ".join(together), ids[start:]


@functools.lru_cache(maxsize=2**16)
def _word_ids(tokenizer: TextTokenizer, word: str) -> tuple[int, ...]:
    return tuple(own_ids(tokenizer, tokenizer.encode([word])[0]))
