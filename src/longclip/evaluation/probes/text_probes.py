"""What recall hides, measured together on one pool of long texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.encoder import Encoder
from longclip.evaluation.probes.details import DetailAccuracy, detail_accuracy
from longclip.evaluation.probes.lengths import LengthCurve, recall_by_length
from longclip.evaluation.probes.sentence_probes import SentenceProbes, sentence_probes
from longclip.evaluation.probes.separation import Separation, separation
from longclip.util.progress import SILENT, OnProgress

TOKENS_KEPT = (5, 10, 15, 20, 30, 40, 50, 60, 75, 100, 125, 150, 200, 246)


@dataclass(frozen=True)
class TextProbes:
    """How long texts are read, which sentences and details count, how far embeddings lie apart."""

    lengths: LengthCurve
    sentences: SentenceProbes
    details: DetailAccuracy
    separation: Separation

    def to_json(self) -> dict[str, Any]:
        return {name: probe.to_json() for name, probe in vars(self).items()}


def probe_texts(
    encoder: Encoder,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    image_embeddings: torch.Tensor,
    text_embeddings: torch.Tensor,
    *,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> TextProbes:
    """All probes; embeddings and `image_of_text` as in `retrieval_recall`."""
    return TextProbes(
        lengths=recall_by_length(
            encoder,
            image_embeddings,
            texts,
            image_of_text,
            tokens=TOKENS_KEPT,
            cache=cache,
            on_progress=on_progress,
        ),
        sentences=sentence_probes(
            encoder,
            image_embeddings,
            texts,
            image_of_text,
            text_embeddings=text_embeddings,
            cache=cache,
            on_progress=on_progress,
        ),
        details=detail_accuracy(
            encoder,
            image_embeddings,
            texts,
            image_of_text,
            text_embeddings=text_embeddings,
            cache=cache,
            on_progress=on_progress,
        ),
        separation=separation(image_embeddings, texts, text_embeddings, image_of_text),
    )
