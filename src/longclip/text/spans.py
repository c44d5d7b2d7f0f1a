"""Where the tokens of a text end: which of its words an encoder reads."""

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from longclip.spec import SPECIAL_TOKENS
from longclip.text.tokenizer import clip_tokenizer


@dataclass(frozen=True)
class WordSpans:
    """The words of a text, which are what stands between spaces, and its tokens up to each.

    Tokens are CLIP's, begin and end of text not counted.

    Attributes:
        text: the text.
        starts: the index of each word's first character.
        ends: the index behind its last.
        tokens: how many tokens `text[:ends[w]]` has.
    """

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    tokens: tuple[int, ...]

    def read_end(self, tokens: int) -> int:
        """Return where the words that fit end: `text[:n]` is the longest part of whole words.

        All of the text where all of its words fit.
        """
        fitting = longest_fit(self.tokens, tokens)
        if fitting == len(self.ends):
            return len(self.text)
        return self.ends[fitting - 1] if fitting else 0

    def unread_start(self, tokens: int) -> int:
        """Return where the first word stands that is not read to its end; else the length."""
        fitting = longest_fit(self.tokens, tokens)
        return self.starts[fitting] if fitting < len(self.starts) else len(self.text)


def longest_fit(counts: Sequence[int], tokens: int) -> int:
    """Return how many parts of a text fit, where up to part i it has `counts[i]` tokens.

    A part may have fewer tokens together with the next one than alone: cleaning repairs mojibake
    and entities as soon as they are whole. So the last that fits counts, not the first that fails.
    """
    return max((parts for parts, n in enumerate(counts, 1) if n <= tokens), default=0)


def word_spans(text: str) -> WordSpans:
    """Find the words of a text and how many tokens they add up to.

    A distinct word is tokenized once per process, so thousands of texts are a matter of seconds.
    """
    words = list(re.finditer(r"\S+", text))
    starts, ends = tuple(word.start() for word in words), tuple(word.end() for word in words)
    ids = [_word_ids(word.group()) for word in words]
    if [*itertools.chain.from_iterable(ids)] == clip_tokenizer().encode([text])[0][1:-1]:
        return WordSpans(text, starts, ends, tuple(itertools.accumulate(map(len, ids))))
    # What the cleaning repairs (mojibake, entities) may reach over a space.
    encoded = clip_tokenizer().encode([text[:end] for end in ends])
    return WordSpans(text, starts, ends, tuple(len(ids) - SPECIAL_TOKENS for ids in encoded))


def words_with_ids(
    text: str, encode: Callable[[str], list[int]]
) -> Iterator[tuple[str, list[int]]]:
    """Yield what stands between spaces, with its ids; together these are the ids of the whole text.

    A word's own ids are nearly always those that it has in the text. Where they are not, it is
    taken together with what follows: a textual inversion's name may hold a space, and tokenizers
    that repair broken encodings look further than one word.
    """
    ids = encode(text)
    spelled, start = "", 0
    for word in text.split():
        spelled = f"{spelled} {word}".lstrip()
        own = encode(spelled)
        if own == ids[start : start + len(own)]:
            if own:
                yield spelled, own
            spelled, start = "", start + len(own)
    if start < len(ids):
        yield spelled, ids[start:]


@functools.lru_cache(maxsize=2**16)
def _word_ids(word: str) -> tuple[int, ...]:
    return tuple(clip_tokenizer().encode([word])[0][1:-1])
