"""Probe of details: captions that differ in one word, by its place in the text."""

import bisect
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from longclip.encoders.encoder import Encoder, tokenizer_of
from longclip.errors import UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_texts
from longclip.evaluation.ranking import UnitRows
from longclip.spec import SPECIAL_TOKENS, STOCK_CONTEXT
from longclip.text.spans import word_spans
from longclip.util.terminal import SILENT, OnProgress

_KINDS = (
    ("red", "blue", "green", "yellow", "purple", "pink", "brown", "black", "white", "gray"),
    ("two", "three", "four", "five", "six", "seven"),
    ("wooden", "metal", "plastic", "brick", "leather", "concrete"),
    ("striped", "checkered", "floral"),
    ("small", "large"),
    ("tiny", "huge"),
    ("long", "short"),
    ("wide", "narrow"),
    ("thick", "thin"),
    ("left", "right"),
)
# Replacements of a word are wrong wherever the word was right, so synonyms (big, large) are not
# each other's. All start with a consonant, so "a" and "an" stay right.
ALTERNATIVES: dict[str, tuple[str, ...]] = {
    **{word: tuple(o for o in kind if o != word) for kind in _KINDS for word in kind},
    "grey": _KINDS[0][:-1],
    "big": ("small",),
    "tall": ("short",),
}
# Neither half of "off-white" nor of "black-and-white" can be changed alone.
_WORD = re.compile(rf"(?<![\w-])(?:{'|'.join(ALTERNATIVES)})(?![\w-])", re.IGNORECASE)

PLACES = ("early", "middle", "late")
# Early are the CLIP tokens that CLIP attends to; late ones are beyond its context.
_EARLY_TOKENS = 20


@dataclass(frozen=True)
class AlteredText:
    """Text `index` of a pool with `word`, its CLIP token number `token` from 1, replaced."""

    index: int
    place: str
    token: int
    word: str
    replacement: str
    text: str


@dataclass(frozen=True)
class PlaceAccuracy:
    """Share of the `texts` altered at one place whose image is nearer to the true text.

    `ties` of them are equal to the model, because it does not read that far, and count as wrong:
    guessing would be 0.5, not reading is 0. None where no text has a detail there.
    """

    texts: int
    ties: int
    accuracy: float | None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class DetailAccuracy:
    """Accuracy by the place of the word: early is among the first 20 CLIP tokens, middle among
    tokens 21 to 75, and late is behind what CLIP's context holds.
    """

    early: PlaceAccuracy
    middle: PlaceAccuracy
    late: PlaceAccuracy
    altered: tuple[AlteredText, ...] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {place: getattr(self, place).to_json() for place in PLACES}


def detail_accuracy(
    encoder: Encoder,
    image_embeddings: torch.Tensor,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    *,
    n: int = 500,
    seed: int = 0,
    text_embeddings: torch.Tensor | None = None,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> DetailAccuracy:
    """Compare each image with its text and with that text with one attribute altered.

    The true text must be the nearer one; ties count against the model. Arguments as in
    `recall_by_length`; `n` and `seed` as in `alter_details`; `text_embeddings` [M, D] spare
    embedding the true texts again. A word beyond the encoder's context is a tie without asking:
    two texts that are cut to the same tokens may get embeddings that differ by rounding.
    """
    altered = alter_details(texts, n=n, seed=seed)
    embed = partial(
        embed_texts, encoder, stage="texts with a detail", cache=cache, on_progress=on_progress
    )
    closer = torch.zeros(len(altered), dtype=torch.float64)
    if altered:
        rows = [item.index for item in altered]
        if text_embeddings is None:
            both = embed([texts[row] for row in rows] + [item.text for item in altered])
            true, false = both.chunk(2)
        else:
            true, false = text_embeddings[rows], embed([item.text for item in altered])
        # Cosine of each image with its true text minus that with the false one, float64.
        device = image_embeddings.device
        own = UnitRows.of(image_embeddings, "image embeddings").rows(image_of_text[rows].to(device))
        right, wrong = (
            UnitRows.of(text_rows.to(device), "text embeddings").rows(slice(None))
            for text_rows in (true, false)
        )
        closer = ((own * right).sum(1) - (own * wrong).sum(1)).cpu()
    limit, tokenizer = encoder.context_length, tokenizer_of(encoder)
    if limit is not None and tokenizer is not None:
        encode = partial(tokenizer.encode, context_length=limit)
        pairs = zip(
            encode([texts[item.index] for item in altered]),
            encode([item.text for item in altered]),
            strict=True,
        )
        closer[torch.tensor([true == false for true, false in pairs], dtype=torch.bool)] = 0
    by_place = {}
    for place in PLACES:
        found = closer[[i for i, item in enumerate(altered) if item.place == place]]
        by_place[place] = PlaceAccuracy(
            texts=len(found),
            ties=int((found == 0).sum()),
            accuracy=(found > 0).double().mean().item() if len(found) else None,
        )
    return DetailAccuracy(**by_place, altered=altered)


def alter_details(texts: Sequence[str], *, n: int, seed: int) -> tuple[AlteredText, ...]:
    """Alter up to `n` texts per place, replacing one attribute word by another of its kind.

    Colours, numbers, sizes, materials, patterns and left/right (`ALTERNATIVES`). Where several
    words of a text stand at a place one is drawn, and its replacement is one that the text does
    not hold already, if there is any. The same texts and seed give the same answer.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1, not {n}")
    dice = random.Random(seed)
    chosen: dict[str, list[AlteredText]] = {place: [] for place in PLACES}
    for index in dice.sample(range(len(texts)), len(texts)):
        if all(len(found) == n for found in chosen.values()):
            break
        for place, words in _words_by_place(texts[index]).items():
            if words and len(chosen[place]) < n:
                word, token = dice.choice(words)
                replacement = _replacement(texts[index], word, dice)
                text = texts[index][: word.start()] + replacement + texts[index][word.end() :]
                chosen[place].append(
                    AlteredText(index, place, token, word.group(), replacement, text)
                )
    return tuple(
        item for place in PLACES for item in sorted(chosen[place], key=lambda item: item.index)
    )


def _words_by_place(text: str) -> dict[str, list[tuple[re.Match[str], int]]]:
    """Return the attribute words of `text` with the numbers of their tokens, counted from 1."""
    words: dict[str, list[tuple[re.Match[str], int]]] = {place: [] for place in PLACES}
    found = list(_WORD.finditer(text))
    if not found:
        return words
    counted = word_spans(text)
    for match in found:
        # Quotes and brackets before the attribute belong to its word and are ignored here.
        word = bisect.bisect_right(counted.ends, match.start())
        token = counted.tokens(word) + 1
        limits = (_EARLY_TOKENS, STOCK_CONTEXT - SPECIAL_TOKENS)
        words[PLACES[bisect.bisect_left(limits, token)]].append((match, token))
    return words


def _replacement(text: str, word: re.Match[str], dice: random.Random) -> str:
    alternatives = ALTERNATIVES[word.group().lower()]
    present = set(re.findall(r"\w+", text.lower()))
    chosen = dice.choice([a for a in alternatives if a not in present] or alternatives)
    if word.group().isupper():
        return chosen.upper()
    return chosen.capitalize() if word.group()[0].isupper() else chosen
