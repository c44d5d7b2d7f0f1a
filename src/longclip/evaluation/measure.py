"""Everything a collection can tell about an encoder, in one result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from longclip._progress import OnProgress
from longclip.data.collection import Collection, LabelSet
from longclip.evaluation.embed import BadImage, ImageEmbeddings, embed_images, embed_texts, report
from longclip.evaluation.encoder import Encoder
from longclip.evaluation.metrics import RetrievalResult, retrieval_recall
from longclip.evaluation.pools import TextPool, long_texts, short_texts, text_pool
from longclip.evaluation.templates import IMAGENET_TEMPLATES
from longclip.evaluation.zero_shot import ZeroShotResult, top1_accuracy, zero_shot_classifier
from longclip.inputs import truncation


@dataclass(frozen=True)
class TextRetrieval:
    """Retrieval against one pool of texts; `truncated` of them do not fit the encoder."""

    recall: RetrievalResult
    truncated: int
    pool: TextPool = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {**self.recall.to_json(), "truncated_texts": self.truncated}


@dataclass(frozen=True)
class EvaluationResult:
    """`name` is the model's. What a collection does not offer is None or absent."""

    name: str
    collection: str
    context_length: int
    images: int
    bad_images: tuple[BadImage, ...]
    long: TextRetrieval | None
    short: TextRetrieval | None
    zero_shot: dict[str, ZeroShotResult]
    image_embeddings: torch.Tensor = field(repr=False, compare=False)
    """float32 [images, D]; row r is the r-th image that could be read."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "collection": self.collection,
            "context_length": self.context_length,
            "images": self.images,
            "bad_images": [{"index": bad.index, "reason": bad.reason} for bad in self.bad_images],
            "long": self.long.to_json() if self.long else None,
            "short": self.short.to_json() if self.short else None,
            "zero_shot": {task: result.to_json() for task, result in self.zero_shot.items()},
        }


def evaluate(
    encoder: Encoder,
    collection: Collection,
    *,
    name: str,
    ks: Sequence[int] = (1, 5, 10),
    templates: Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 64,
    max_bad_fraction: float = 0.01,
    on_progress: OnProgress | None = None,
) -> EvaluationResult:
    """Long and short retrieval and zero-shot classification, as far as the collection has them.

    Long retrieval pairs each image with its long descriptions, or with its short captions joined
    (`long_texts`); short retrieval takes every short caption. `templates` maps the name of a
    label set to its prompts; the others are asked with their own, or the 80 ImageNet templates.

    Images that cannot be read are left out, with their texts and labels, and listed; ValueError
    where they are more than `max_bad_fraction`.
    """
    label_sets, templates = collection.label_sets(), templates or {}
    unknown = set(templates) - {labels.name for labels in label_sets}
    if unknown:
        raise ValueError(
            f"{collection.name} has no label set {sorted(unknown)[0]!r} for these templates; "
            f"it has {[labels.name for labels in label_sets]}"
        )
    images = embed_images(
        encoder,
        collection,
        batch_size=batch_size,
        max_bad_fraction=max_bad_fraction,
        on_progress=on_progress,
    )

    def retrieve(kind: str, pool: TextPool | None) -> TextRetrieval | None:
        if pool is None:
            return None
        stage = f"{collection.name}: {kind} texts"
        texts = embed_texts(encoder, pool.texts, stage=stage, on_progress=on_progress)
        own = images.embeddings[list(pool.image_rows)]
        recall = retrieval_recall(own, texts, pool.image_of_text, ks=ks)
        truncated = truncation(pool.texts, encoder.context_length).texts_cut
        return TextRetrieval(recall, truncated, pool)

    return EvaluationResult(
        name=name,
        collection=collection.name,
        context_length=encoder.context_length,
        images=len(images.indices),
        bad_images=images.bad,
        long=retrieve("long", text_pool(collection, images.indices, long_texts)),
        short=retrieve("short", text_pool(collection, images.indices, short_texts)),
        zero_shot={
            labels.name: _classify(
                encoder,
                images,
                labels,
                templates.get(labels.name) or labels.templates or IMAGENET_TEMPLATES,
                on_progress,
            )
            for labels in label_sets
        },
        image_embeddings=images.embeddings,
    )


def _classify(
    encoder: Encoder,
    images: ImageEmbeddings,
    labels: LabelSet,
    templates: Sequence[str],
    on_progress: OnProgress | None,
) -> ZeroShotResult:
    if max(images.indices) >= len(labels.targets):
        raise ValueError(
            f"label set {labels.name!r} has {len(labels.targets)} targets, fewer than images"
        )
    done, total = 0, len(labels.classes) * len(templates)

    def encode(prompts: Sequence[str]) -> torch.Tensor:
        nonlocal done
        embeddings = encoder.encode_text(prompts)
        done += len(prompts)
        report(on_progress, f"{labels.name}: prompts", done, total)
        return embeddings

    report(on_progress, f"{labels.name}: prompts", 0, total)
    classifier = zero_shot_classifier(encode, labels.classes, templates)
    targets = torch.tensor([labels.targets[index] for index in images.indices])
    return top1_accuracy(images.embeddings, classifier, targets)
