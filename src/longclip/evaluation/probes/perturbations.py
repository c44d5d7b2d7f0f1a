"""Probe of perturbations: whether a text scores above itself made wrong, by order or by truth."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longclip.encoders.encoder import Encoder
from longclip.errors import UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_as_read
from longclip.evaluation.ranking import paired_cosines
from longclip.text.sentences import split_sentences
from longclip.util.terminal import SILENT, OnProgress

# After these "has" is no full verb: what "has been" says is negated by "has not been".
_NO_OBJECT = r"(?:not|just|already|been|come|gone|had|\w{3,}ed)\b"
_NEGATIONS = (
    (re.compile(r"\b(is|are|was|were)\b(?! not\b)"), r"\1 not"),
    (re.compile(rf"\bhas (?!{_NO_OBJECT})"), "does not have "),
    (re.compile(rf"\bhave (?!{_NO_OBJECT})"), "do not have "),
)


@dataclass(frozen=True)
class TextComparison:
    """Images with their true texts and with the same texts perturbed.

    Attributes:
        texts: that were perturbed.
        accuracy: share of them that score above the perturbed text; guessing gives 0.5, and not
            reading what was changed 0. None without texts, like the next.
        drop: mean of the true text's cosine minus the perturbed one's.
        ties: texts that score the same, which count as wrong.
    """

    texts: int
    accuracy: float | None
    drop: float | None
    ties: int

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Perturbations:
    """Comparisons by what was done to the texts.

    Attributes:
        shuffled_words: all words of a text in another order.
        shuffled_sentences: all sentences in another order. The text stays true, so its score should
            not change: of this one `drop` tells, not `accuracy`.
        negated: one sentence negated.
        contradicted: one late detail false, where the data's annotations tell what would be.
    """

    shuffled_words: TextComparison
    shuffled_sentences: TextComparison
    negated: TextComparison
    contradicted: TextComparison

    def to_json(self) -> dict[str, Any]:
        return {name: found.to_json() for name, found in vars(self).items()}


def perturbations(
    encoder: Encoder,
    image_embeddings: torch.Tensor,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    *,
    contradictions: Mapping[int, str] | None = None,
    n: int = 500,
    seed: int = 0,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> Perturbations:
    """Compare each image with its text and with that text perturbed.

    Arguments as in `recall_by_length`. `contradictions` has the false text of each text, by its
    place, that has one. Of each kind at most `n` texts are taken, drawn by `seed`.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1, not {n}")
    changes: dict[str, Callable[[str, random.Random], str | None]] = {
        "shuffled_words": shuffle_words,
        "shuffled_sentences": shuffle_sentences,
        "negated": negate,
    }
    perturbed: dict[str, dict[int, str]] = {}
    for kind, change in changes.items():
        dice = random.Random(seed)
        chosen = perturbed[kind] = {}
        for index in dice.sample(range(len(texts)), len(texts)):
            text = change(texts[index], dice) if len(chosen) < n else None
            if text is not None:
                chosen[index] = text
    false = contradictions or {}
    drawn = random.Random(seed).sample(sorted(false), min(n, len(false)))
    perturbed["contradicted"] = {index: false[index] for index in drawn}

    pairs = [(index, text) for one in perturbed.values() for index, text in one.items()]
    drops = torch.zeros(0, dtype=torch.float64)
    if pairs:
        both = embed_as_read(
            encoder,
            [texts[index] for index, _ in pairs] + [text for _, text in pairs],
            stage="perturbed texts",
            cache=cache,
            on_progress=on_progress,
        )
        true, wrong = both.chunk(2)
        own = image_of_text[[index for index, _ in pairs]]
        drops = paired_cosines(image_embeddings, own, true) - paired_cosines(
            image_embeddings, own, wrong
        )
    counts = [len(one) for one in perturbed.values()]
    return Perturbations(
        **dict(zip(perturbed, map(_compared, torch.split(drops, counts)), strict=True))
    )


def _compared(drops: torch.Tensor) -> TextComparison:
    if not len(drops):
        return TextComparison(0, None, None, 0)
    accuracy = (drops > 0).double().mean().item()
    return TextComparison(len(drops), accuracy, drops.mean().item(), int((drops == 0).sum()))


def shuffle_words(text: str, dice: random.Random) -> str | None:
    """Return the words of a text in another order; None where there is no other."""
    return _reordered(text.split(), dice)


def shuffle_sentences(text: str, dice: random.Random) -> str | None:
    """Return the sentences of a text in another order; None where there is no other."""
    return _reordered(split_sentences(text), dice)


def _reordered(parts: list[str], dice: random.Random) -> str | None:
    if len(set(parts)) < 2:
        return None
    order = list(parts)
    while order == parts:
        dice.shuffle(order)
    return " ".join(order)


def negate(text: str, dice: random.Random) -> str | None:
    """Negate the verb of one sentence: is, are, was, were, has or have.

    One is drawn of those that have such a verb; None where none has.
    """
    sentences = split_sentences(text)
    found = [
        (place, pattern.sub(words, sentence, count=1))
        for place, sentence in enumerate(sentences)
        for pattern, words in _NEGATIONS
        if pattern.search(sentence)
    ]
    if not found:
        return None
    place, sentence = dice.choice(found)
    return " ".join([*sentences[:place], sentence, *sentences[place + 1 :]])
