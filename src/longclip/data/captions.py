"""Choice of the short texts and the long text of an image that a training step reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from longclip.errors import UsageError
from longclip.spec import SPECIAL_TOKENS, STOCK_CONTEXT, LongTexts, ShortTexts
from longclip.text.sentences import split_sentences

if TYPE_CHECKING:  # the command line reads policies to print its help
    import numpy as np


@dataclass(frozen=True)
class Captions:
    """The texts of one image.

    `short` holds sentences, `long` whole descriptions. Either may be empty: where `long` is, the
    short captions joined are the long text; where `short` is, the first sentence of the long one
    is the short text (see `sample_texts`).
    """

    short: tuple[str, ...] = ()
    long: tuple[str, ...] = ()


def is_long(text: str) -> bool:
    """Return whether a text is longer than a stock CLIP reads (77 tokens with begin and end)."""
    # A token is a byte or more, and cleaning makes a text longer only where it has letters such as
    # "Ⱥ" or entities such as "&nGt;".
    plain = text.isascii() and "&" not in text
    if len(text) <= (STOCK_CONTEXT - SPECIAL_TOKENS) // (1 if plain else 6):
        return False
    from longclip.text.tokenizer import clip_tokenizer  # reading its vocabulary takes a while

    return len(clip_tokenizer().encode([text])[0]) > STOCK_CONTEXT


def sort_by_length(short: Sequence[str], long: Sequence[str], *, named: bool = False) -> Captions:
    """Return the texts of one image, each once; lengths decide what is long.

    Where there is no long text, those of the short ones that are longer than a stock CLIP reads are
    long: a column of paragraphs is long, whatever its name and container.

    Args:
        short: texts of a column for short ones.
        long: texts of a column for long ones.
        named: whether the user has said that the texts of `short` are short.
    """
    texts, long = list(dict.fromkeys(short)), list(dict.fromkeys(long))
    if not long and not named:
        long = [text for text in texts if is_long(text)]
        texts = [text for text in texts if text not in long]
    return Captions(tuple(texts), tuple(long))


@dataclass(frozen=True)
class TextPolicy:
    """A rule that makes the texts of a training step from the texts of an image.

    Attributes:
        short: source of the short texts.
            `given`: short captions; the first sentence of the long text where there are none
            (Long-CLIP, section 4.1).
            `first-sentence`: that sentence even where there are short captions.
            `without-first`: some of the long text's other sentences, any number of them in any
            order (DeBias-CLIP, CVPR 2026: descriptions open with a summary, and a model that is
            always shown it stops reading there). A text of one sentence stays as it is.
            `sentences`: each is one sentence of the long text, any of them (β-CLIP, CVPR 2026).
        join_short: with `given`, a short text is up to this many captions, as texts from the web
            are of all lengths.
        positives: short texts of one image. They share no caption or sentence while there are
            enough; `first-sentence` goes on with the other sentences.
        long: which sentences of the long text are read: the text as it is (`whole`), or any
            number of them, in their order (`subsampled`) or in any (`shuffled`). Short texts
            come from the whole text in any case.
    """

    short: ShortTexts = "given"
    join_short: int = 1
    positives: int = 1
    long: LongTexts = "whole"

    def __post_init__(self) -> None:
        if self.short not in get_args(ShortTexts):
            allowed = ", ".join(get_args(ShortTexts))
            raise UsageError(f"short texts cannot be {self.short!r}, only {allowed}")
        if self.long not in get_args(LongTexts):
            allowed = ", ".join(get_args(LongTexts))
            raise UsageError(f"long texts cannot be {self.long!r}, only {allowed}")
        for name in ("join_short", "positives"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, must be at least 1")


@dataclass(frozen=True)
class PolicyChange:
    """Changes that one source of data makes to the text policy of a run; None for none."""

    short: ShortTexts | None = None
    join_short: int | None = None
    # Not in its repr, which is part of the fingerprints of runs that were begun without it.
    long: LongTexts | None = field(default=None, repr=False)

    def of(self, policy: TextPolicy) -> TextPolicy:
        """Return the policy of a run, changed for this source.

        Raises:
            UsageError: if there is no such policy.
        """
        changes = {name: value for name, value in vars(self).items() if value is not None}
        return replace(policy, **changes) if changes else policy


UNCHANGED = PolicyChange()


@dataclass(frozen=True)
class Texts:
    """The texts of one image in one step: as many short ones as the policy asks for, one long."""

    short: tuple[str, ...]
    long: str


DEFAULT_POLICY = TextPolicy()


def sample_texts(
    captions: Captions, random: "np.random.Generator", policy: TextPolicy = DEFAULT_POLICY
) -> Texts:
    """Draw the texts of one image for one step, as `policy` says.

    Of several long texts one is taken. Where there is none, the short captions joined in random
    order are the long text, and its sentences are these captions.
    """
    if captions.long:
        long = captions.long[random.integers(len(captions.long))]
        sentences: Sequence[str] = ()
    else:
        sentences = [captions.short[i] for i in random.permutation(len(captions.short))]
        long = " ".join(sentences)
    short = _short_texts(captions, sentences or long, random, policy)
    if policy.long != "whole":
        sentences = sentences or split_sentences(long) or [long]
        size = int(random.integers(len(sentences))) + 1
        chosen = random.choice(len(sentences), size, replace=False)
        places = sorted(chosen) if policy.long == "subsampled" else chosen
        long = " ".join(sentences[int(i)] for i in places)
    return Texts(short, long)


def _short_texts(
    captions: Captions, long: str | Sequence[str], random: "np.random.Generator", policy: TextPolicy
) -> tuple[str, ...]:
    """Draw the short texts of one image; `long` is its long text or the sentences of it."""
    wanted = policy.positives
    if policy.short == "given" and captions.short:
        return _draw(captions.short, random, policy.join_short, wanted)
    sentences = (split_sentences(long) or [long]) if isinstance(long, str) else long
    if policy.short == "sentences":
        return _draw(sentences, random, 1, wanted)
    first, others = sentences[0], sentences[1:]
    if policy.short == "without-first":
        # With one positive any number of sentences; with more, so many that all get some.
        most = max(1, len(others) // wanted)
        return _draw(others or sentences, random, most, wanted)
    if wanted == 1:
        return (first,)
    return (first, *_draw(others or sentences, random, 1, wanted - 1))


def _draw(
    pool: Sequence[str], random: "np.random.Generator", most: int, count: int
) -> tuple[str, ...]:
    """Draw `count` texts of 1 to `most` items; no item twice before all have been used."""
    texts: list[str] = []
    left: list[str] = []
    for _ in range(count):
        left = left or list(pool)
        size = min(int(random.integers(most)) + 1, len(left))
        chosen = [int(i) for i in random.choice(len(left), size, replace=False)]
        texts.append(" ".join(left[i] for i in chosen))
        left = [text for i, text in enumerate(left) if i not in chosen]
    return tuple(texts)
