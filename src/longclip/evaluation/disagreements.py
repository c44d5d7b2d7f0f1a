"""The descriptions on which models disagree, and what in them decides; the paper's Figure 2.

Which sentences and words of a description decide between the right image and a rival.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch.nn.functional import normalize

from longclip.data import Collection
from longclip.errors import UsageError
from longclip.evaluation.embed import embed_texts
from longclip.evaluation.encoders.encoder import Encoder
from longclip.evaluation.probes.lengths import characters_read
from longclip.evaluation.ranking import TextPool, strongest_rivals
from longclip.evaluation.results import EvaluationResult, TextRetrieval
from longclip.spec import STOCK_CONTEXT
from longclip.text.sentences import split_sentences


@dataclass(frozen=True)
class Mark:
    """`text[start:end]` and what it adds to the margin; positive: it speaks for the right image."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Evidence:
    """Margin = cosine with the right image minus cosine with the rival, in [-2, 2].

    A mark's score is the margin of the whole text minus the margin without that piece.
    `words` holds the words of the most deciding sentences only, in the order of the text.
    """

    text: str
    margin: float
    sentences: tuple[Mark, ...]
    words: tuple[Mark, ...]


def text_evidence(
    encoder: Encoder,
    texts: Sequence[str],
    right: torch.Tensor,
    wrong: torch.Tensor,
    *,
    deciding_sentences: int = 1,
) -> list[Evidence]:
    """Leave out one sentence at a time, then one word at a time in the most deciding sentences.

    `right` and `wrong` [Q, D] are the embeddings of each text's own image and of its rival, by
    the same encoder. All texts together take two calls of `encode_text`.
    """
    if not len(texts) == len(right) == len(wrong):
        raise UsageError(f"{len(texts)} texts, {len(right)} right and {len(wrong)} wrong images")
    direction = normalize(right.float(), dim=-1) - normalize(wrong.float(), dim=-1)
    nothing = [[(0, 0)] for _ in texts]
    sentence_spans = [_sentence_spans(text) for text in texts]
    by_sentence = _margins_without(
        encoder, texts, direction, [a + b for a, b in zip(nothing, sentence_spans, strict=True)]
    )
    margins = [first for first, *_ in by_sentence]
    sentences = [
        _marks(spans, margin, without)
        for spans, margin, (_, *without) in zip(sentence_spans, margins, by_sentence, strict=True)
    ]
    word_spans = [
        _word_spans(text, marks, deciding_sentences)
        for text, marks in zip(texts, sentences, strict=True)
    ]
    by_word = _margins_without(encoder, texts, direction, word_spans)
    words = map(_marks, word_spans, margins, by_word)
    return list(map(Evidence, texts, margins, sentences, words))


Span = tuple[int, int]


def _margins_without(
    encoder: Encoder,
    texts: Sequence[str],
    direction: torch.Tensor,
    spans_of: Sequence[Sequence[Span]],
) -> list[list[float]]:
    """For each text and each of its spans the margin of the text without that span."""
    shortened = [
        text[:start] + text[end:]
        for text, spans in zip(texts, spans_of, strict=True)
        for start, end in spans
    ]
    counts = [len(spans) for spans in spans_of]
    if not shortened:
        return [[] for _ in texts]
    embeddings = normalize(embed_texts(encoder, shortened), dim=-1)
    query = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor(counts))
    rows = direction.to(embeddings.device)[query.to(embeddings.device)]
    margins = (embeddings * rows).sum(-1).cpu()
    return [part.tolist() for part in torch.split(margins, counts)]


def _marks(spans: Sequence[Span], margin: float, without: Sequence[float]) -> tuple[Mark, ...]:
    pairs = zip(spans, without, strict=True)
    return tuple(Mark(start, end, margin - left) for (start, end), left in pairs)


def _sentence_spans(text: str) -> list[Span]:
    spans: list[Span] = []
    cursor = 0
    for sentence in split_sentences(text):
        pattern = r"\s+".join(map(re.escape, sentence.split()))
        found = re.compile(pattern).search(text, cursor)
        assert found, f"split_sentences changed {sentence!r}"
        spans.append(found.span())
        cursor = found.end()
    return spans


def _word_spans(text: str, sentences: Sequence[Mark], count: int) -> list[Span]:
    deciding = sorted(sentences, key=lambda mark: mark.score, reverse=True)[:count]
    words = re.compile(r"\w+(?:[-'’]\w+)*")
    return sorted(
        found.span() for mark in deciding for found in words.finditer(text, mark.start, mark.end)
    )


@dataclass(frozen=True)
class GalleryAnswer:
    """The image that a model returns first; `caption` says what is on it, also to the blind."""

    model: str
    image: Image.Image
    is_right: bool
    caption: str


@dataclass(frozen=True)
class GalleryQuery:
    """A description, what decides in it, and each model's answer.

    A line is drawn at `characters_read`, where a short context stops reading (the function
    `characters_read` finds it); None draws none.
    """

    evidence: Evidence
    answers: tuple[GalleryAnswer, ...]
    characters_read: int | None = None
    cut_label: str = "77 tokens: a stock CLIP stops reading here"


@dataclass(frozen=True, eq=False)
class Answering:
    """A model and what it made of one pool.

    `images` [N, D] and `texts` [M, D] are its embeddings of the pool, `ranks`, int64 [M], the rank
    of each text's own image.
    """

    name: str
    encoder: Encoder
    images: torch.Tensor
    texts: torch.Tensor
    ranks: torch.Tensor

    @classmethod
    def of(
        cls, encoder: Encoder, result: EvaluationResult, retrieval: TextRetrieval
    ) -> "Answering":
        """From a result that was measured here, and not read from a file."""
        assert result.image_embeddings is not None
        assert retrieval.pool is not None
        assert retrieval.embeddings is not None
        return cls(
            result.name,
            encoder,
            result.image_embeddings[list(retrieval.pool.image_rows)],
            retrieval.embeddings,
            retrieval.recall.ranks.text_to_image,
        )


@dataclass(frozen=True)
class Disagreements:
    """Chosen queries, and how many there were to choose from.

    `gained`: texts whose image the last model returns first and the first model does not;
    `lost`: the other way round.
    """

    queries: tuple[GalleryQuery, ...]
    gained: int
    lost: int
    collection: str = ""


def disagreements(
    models: Sequence[Answering],
    pool: TextPool,
    picture: Callable[[int], tuple[Image.Image, str]],
    *,
    queries: int = 6,
    of_lost: int = 2,
    candidates: int = 24,
    group: Callable[[int], Hashable] = lambda image: image,
) -> Disagreements:
    """Where the last model brings the right image first and the first one does not, or lost it.

    Of the `candidates` texts with the largest margins those come first that are decided by a
    sentence behind a stock CLIP's context, then by margin.

    Args:
        models: two or more; each answers every query.
        pool: the texts and images they were measured on.
        picture: from a row of the pool's images to the picture and a caption for it.
        queries: how many are shown.
        of_lost: how many of them are losses, where there are any.
        candidates: how many are looked at closely, which costs a text embedding per word.
        group: from a row of the pool's images to a name; at most one query of each is shown.
    """
    answers = _Answers.of(models, pool, picture)
    gained = ~answers.right[0] & answers.right[-1]
    lost = answers.right[0] & ~answers.right[-1]

    def choose(
        wanted: torch.Tensor, winner: int, loser: int, count: int
    ) -> tuple[GalleryQuery, ...]:
        rival = answers.rivals[loser]
        found = _most_telling(wanted, models[winner], rival, pool, candidates)
        best_of: dict[Hashable, tuple[int, Evidence]] = {}
        for text, evidence in found:
            best_of.setdefault(group(int(pool.image_of_text[text])), (text, evidence))
        return tuple(answers.query(*pair) for pair in list(best_of.values())[:count])

    losses = choose(lost, 0, -1, of_lost)
    gains = choose(gained, -1, 0, queries - len(losses))
    return Disagreements((*gains, *losses), int(gained.sum()), int(lost.sum()))


def find_disagreements(
    encoders: Mapping[str, Encoder],
    collection: Collection,
    results: Mapping[str, EvaluationResult],
) -> Disagreements | None:
    """`disagreements` of models on a collection; None where there is one model, or no texts.

    `encoders` and `results` are by model, in the order of the report.
    """
    kind = "long" if all(result.long for result in results.values()) else "short"
    retrievals = [getattr(result, kind) for result in results.values()]
    if len(results) < 2 or not all(retrievals):
        return None
    first = next(iter(results.values()))
    pool = retrievals[0].pool
    answering = [
        Answering.of(encoders[name], result, retrieval)
        for (name, result), retrieval in zip(results.items(), retrievals, strict=True)
    ]

    def picture(row: int) -> tuple[Image.Image, str]:
        index = first.image_indices[pool.image_rows[row]]
        return collection.image(index), f"image {index} of {first.collection}"

    return replace(disagreements(answering, pool, picture), collection=first.collection)


@dataclass(frozen=True, eq=False)
class _Answers:
    """What every model returns for every text: `rivals` and `right` have a tensor [M] for each."""

    models: Sequence[Answering]
    pool: TextPool
    picture: Callable[[int], tuple[Image.Image, str]]
    rivals: Sequence[torch.Tensor]
    right: Sequence[torch.Tensor]

    @classmethod
    def of(
        cls,
        models: Sequence[Answering],
        pool: TextPool,
        picture: Callable[[int], tuple[Image.Image, str]],
    ) -> "_Answers":
        rivals = [strongest_rivals(c.images, c.texts, pool.image_of_text) for c in models]
        right = [(model.ranks == 1).cpu() for model in models]
        return cls(models, pool, picture, rivals, right)

    def query(self, text: int, evidence: Evidence) -> GalleryQuery:
        """A text with each model's answer."""
        own = int(self.pool.image_of_text[text])
        answers = []
        for model, rival, right in zip(self.models, self.rivals, self.right, strict=True):
            is_right = bool(right[text])
            image, caption = self.picture(own if is_right else int(rival[text]))
            answers.append(GalleryAnswer(model.name, image, is_right, caption))
        return GalleryQuery(
            evidence=evidence,
            answers=tuple(answers),
            characters_read=characters_read(evidence.text, STOCK_CONTEXT),
        )


def _most_telling(
    wanted: torch.Tensor, winner: Answering, rival: torch.Tensor, pool: TextPool, candidates: int
) -> list[tuple[int, Evidence]]:
    """Texts and what decides in them for the winner, the most telling first."""
    texts = wanted.nonzero().flatten()
    if not len(texts):
        return []
    unit_images = torch.nn.functional.normalize(winner.images.float(), dim=-1).cpu()
    unit_texts = torch.nn.functional.normalize(winner.texts.float(), dim=-1).cpu()[texts]
    own, other = pool.image_of_text[texts], rival.cpu()[texts]
    margins = ((unit_images[own] - unit_images[other]) * unit_texts).sum(1)
    best = margins.argsort(descending=True, stable=True)[:candidates]
    evidence = text_evidence(
        winner.encoder,
        [pool.texts[i] for i in texts[best].tolist()],
        unit_images[own[best]],
        unit_images[other[best]],
    )
    found = zip(texts[best].tolist(), evidence, strict=True)
    return sorted(found, key=lambda pair: (_decided_early(pair[1]), -pair[1].margin))


def _decided_early(evidence: Evidence) -> bool:
    """Whether the most deciding sentence is one that a stock CLIP reads."""
    deciding = max(evidence.sentences, key=lambda mark: mark.score, default=None)
    return not deciding or deciding.start < characters_read(evidence.text, STOCK_CONTEXT)
