"""Which sentences and words of a description decide between the right image and a rival."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from longclip.errors import UsageError
from longclip.evaluation.embed import embed_texts
from longclip.evaluation.encoder import Encoder
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
