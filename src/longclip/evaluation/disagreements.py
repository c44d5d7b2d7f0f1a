"""Descriptions on which models disagree, and the sentences and words that decide (Figure 2)."""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch.nn.functional import normalize

from longclip.data import Collection
from longclip.encoders.encoder import Encoder
from longclip.errors import UsageError
from longclip.evaluation.embed import embed_texts
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
    sentence_spans = [_sentence_spans(text) for text in texts]
    # The empty span in front: without it the text is whole, which gives its margin.
    spans = [[(0, 0), *own] for own in sentence_spans]
    by_sentence = _margins_without(encoder, texts, direction, spans)
    margins = [first for first, *_ in by_sentence]
    sentences = [
        _marks(own, margin, without)
        for own, margin, (_, *without) in zip(sentence_spans, margins, by_sentence, strict=True)
    ]
    word = re.compile(r"\w+(?:[-'’]\w+)*")
    word_spans = []
    for text, marks in zip(texts, sentences, strict=True):
        deciding = sorted(marks, key=lambda mark: mark.score, reverse=True)[:deciding_sentences]
        found = (word.finditer(text, mark.start, mark.end) for mark in deciding)
        word_spans.append(sorted(match.span() for matches in found for match in matches))
    by_word = _margins_without(encoder, texts, direction, word_spans)
    words = map(_marks, word_spans, margins, by_word)
    return list(map(Evidence, texts, margins, sentences, words))


_Span = tuple[int, int]


def _margins_without(
    encoder: Encoder,
    texts: Sequence[str],
    direction: torch.Tensor,
    spans_of: Sequence[Sequence[_Span]],
) -> list[list[float]]:
    """Return for each text and each of its spans the margin of the text without that span."""
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


def _marks(spans: Sequence[_Span], margin: float, without: Sequence[float]) -> tuple[Mark, ...]:
    pairs = zip(spans, without, strict=True)
    return tuple(Mark(start, end, margin - left) for (start, end), left in pairs)


def _sentence_spans(text: str) -> list[_Span]:
    """Find in the text the sentences that `split_sentences` returns with their spaces evened."""
    spans: list[_Span] = []
    cursor = 0
    for sentence in split_sentences(text):
        pattern = r"\s+".join(map(re.escape, sentence.split()))
        found = re.compile(pattern).search(text, cursor)
        assert found, f"split_sentences changed {sentence!r}"
        spans.append(found.span())
        cursor = found.end()
    return spans


@dataclass(frozen=True)
class GalleryAnswer:
    """Image that a model returns first; `caption` describes it, as its alternative text."""

    model: str
    image: Image.Image
    is_right: bool
    caption: str


@dataclass(frozen=True)
class GalleryQuery:
    """A description, the evidence in it, and each model's answer.

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
        """Take them from a result that was measured here, and not read from a file."""
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
    """Chosen queries, and the numbers of those they were chosen from.

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
    """Find where the last model brings the right image first and the first does not, or lost it.

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
    rivals = [strongest_rivals(m.images, m.texts, pool.image_of_text) for m in models]
    right = [(model.ranks == 1).cpu() for model in models]
    gained = ~right[0] & right[-1]
    lost = right[0] & ~right[-1]

    def query(text: int, evidence: Evidence) -> GalleryQuery:
        answers = []
        for model, rival, is_right in zip(models, rivals, right, strict=True):
            first = pool.image_of_text[text] if is_right[text] else rival[text]
            image, caption = picture(int(first))
            answers.append(GalleryAnswer(model.name, image, bool(is_right[text]), caption))
        read = characters_read(evidence.text, STOCK_CONTEXT)
        return GalleryQuery(evidence, tuple(answers), characters_read=read)

    def choose(
        wanted: torch.Tensor, winner: int, loser: int, count: int
    ) -> tuple[GalleryQuery, ...]:
        best_of: dict[Hashable, tuple[int, Evidence]] = {}
        for text, evidence in _decisive_texts(
            wanted, models[winner], rivals[loser], pool, candidates
        ):
            best_of.setdefault(group(int(pool.image_of_text[text])), (text, evidence))
        return tuple(query(*pair) for pair in list(best_of.values())[:count])

    losses = choose(lost, 0, -1, of_lost)
    gains = choose(gained, -1, 0, queries - len(losses))
    return Disagreements((*gains, *losses), int(gained.sum()), int(lost.sum()))


def find_disagreements(
    encoders: Mapping[str, Encoder],
    collection: Collection,
    results: Mapping[str, EvaluationResult],
) -> Disagreements | None:
    """Return `disagreements` of models on a collection; None for one model, or without texts.

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


def _decisive_texts(
    wanted: torch.Tensor, winner: Answering, rival: torch.Tensor, pool: TextPool, candidates: int
) -> list[tuple[int, Evidence]]:
    """Return texts with their evidence for the winner, the most decisive ones first."""
    texts = wanted.nonzero().flatten()
    if not len(texts):
        return []
    unit_images = normalize(winner.images.float(), dim=-1).cpu()
    unit_texts = normalize(winner.texts.float(), dim=-1).cpu()[texts]
    own, other = pool.image_of_text[texts], rival.cpu()[texts]
    margins = ((unit_images[own] - unit_images[other]) * unit_texts).sum(1)
    best = margins.argsort(descending=True, stable=True)[:candidates]
    evidence = text_evidence(
        winner.encoder,
        [pool.texts[i] for i in texts[best].tolist()],
        unit_images[own[best]],
        unit_images[other[best]],
    )

    def order(pair: tuple[int, Evidence]) -> tuple[bool, float]:
        """Put first what is decided by a sentence that a stock CLIP does not read."""
        found = pair[1]
        deciding = max(found.sentences, key=lambda mark: mark.score, default=None)
        early = not deciding or deciding.start < characters_read(found.text, STOCK_CONTEXT)
        return early, -found.margin

    return sorted(zip(texts[best].tolist(), evidence, strict=True), key=order)
