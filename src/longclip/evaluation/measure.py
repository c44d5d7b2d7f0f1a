"""Evaluation of one encoder on one collection: everything it offers, in one result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longclip.data.captions import Captions
from longclip.data.collection import ChoiceSet, Collection, LabelSet
from longclip.encoders.encoder import Encoder, tokenizer_of
from longclip.errors import UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.choices import ChoiceResult, answer_choices
from longclip.evaluation.config import EvaluateConfig
from longclip.evaluation.embed import (
    ImageEmbeddings,
    embed_as_read,
    embed_images,
    embed_texts,
)
from longclip.evaluation.probes.details import detail_accuracy
from longclip.evaluation.probes.lengths import recall_by_length
from longclip.evaluation.probes.monotonicity import monotonicity
from longclip.evaluation.probes.perturbations import perturbations
from longclip.evaluation.probes.sentence_probes import sentence_probes
from longclip.evaluation.probes.separation import separation
from longclip.evaluation.ranking import (
    TextPool,
    long_texts,
    retrieval_recall,
    short_texts,
    text_pool,
)
from longclip.evaluation.results import EvaluationResult, TextProbes, TextRetrieval
from longclip.evaluation.zero_shot import (
    IMAGENET_TEMPLATES,
    ZeroShotResult,
    top1_accuracy,
    zero_shot_classifier,
)
from longclip.spec import Task
from longclip.text.tokenizer import truncation
from longclip.util.terminal import SILENT, OnProgress


def evaluate(
    encoder: Encoder,
    collection: Collection,
    *,
    name: str,
    config: EvaluateConfig | None = None,
    templates: Mapping[str, Sequence[str]] | None = None,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> EvaluationResult:
    """Measure retrieval, zero-shot classification and choices, as far as the data has them.

    Long retrieval pairs each image with its long descriptions, or with its short captions joined
    (`long_texts`); short retrieval takes every short caption. Images that cannot be read are left
    out, with their texts, labels and questions, and listed.

    Args:
        encoder: the model.
        collection: the data.
        name: what results call the model.
        config: what is measured.
        templates: prompts by name of a label set; else its own, or the 80 ImageNet templates.
        cache: where embeddings are looked for and kept.
        on_progress: called with the progress of each stage.

    Raises:
        ValueError: where too many images cannot be read, or templates name an unknown label set.
        EncoderError: where the encoder gives no usable embeddings.
    """
    config = config or EvaluateConfig()
    label_sets = collection.label_sets() if "zero-shot" in config.tasks else ()
    prompts = _prompts_by_task(collection, label_sets, templates or {})
    images = embed_images(
        encoder,
        collection,
        batch_size=config.batch_size,
        max_bad_fraction=config.max_bad_fraction,
        workers=config.workers,
        cache=cache,
        on_progress=on_progress,
    )
    measure = _Measure(encoder, collection, images, config, cache, on_progress)
    long = measure.retrieval("long", long_texts)
    short = measure.retrieval("short", short_texts)
    return EvaluationResult(
        name=name,
        collection=collection.name,
        context_length=encoder.context_length,
        images=len(images.indices),
        bad_images=images.bad,
        long=long,
        short=short,
        zero_shot={
            labels.name: measure.classification(labels, prompts[labels.name])
            for labels in label_sets
        },
        classes={labels.name: labels.classes for labels in label_sets},
        choices={
            choices.name: measure.choices(choices)
            for choices in (collection.choice_sets() if "choice" in config.tasks else ())
        },
        image_embeddings=images.embeddings,
        image_indices=images.indices,
    )


def _prompts_by_task(
    collection: Collection,
    label_sets: Sequence[LabelSet],
    templates: Mapping[str, Sequence[str]],
) -> dict[str, Sequence[str]]:
    unknown = set(templates) - {labels.name for labels in label_sets}
    if unknown:
        raise UsageError(
            f"{collection.name} has no label set {sorted(unknown)[0]!r} for these templates; "
            f"it has {[labels.name for labels in label_sets]}"
        )
    return {
        labels.name: templates.get(labels.name) or labels.templates or IMAGENET_TEMPLATES
        for labels in label_sets
    }


@dataclass(frozen=True, eq=False)
class _Measure:
    """An encoder and the images it has embedded."""

    encoder: Encoder
    collection: Collection
    images: ImageEmbeddings
    config: EvaluateConfig
    cache: EmbeddingCache | None
    on_progress: OnProgress

    def retrieval(
        self, kind: Task, texts_of: Callable[[Captions], tuple[str, ...]]
    ) -> TextRetrieval | None:
        if kind not in self.config.tasks:
            return None
        pool = text_pool(self.collection, self.images.indices, texts_of)
        if pool is None:
            return None
        own = self.images.embeddings[list(pool.image_rows)]
        texts = embed_texts(
            self.encoder,
            pool.texts,
            stage=f"{self.collection.name}: {kind} texts",
            width=own.shape[1],
            cache=self.cache,
            on_progress=self.on_progress,
        )
        limit, tokenizer = self.encoder.context_length, tokenizer_of(self.encoder)
        cut = None
        if limit is not None and tokenizer is not None:
            cut = truncation(pool.texts, limit, tokenizer=tokenizer)
        probed = kind == "long" and self.config.probes
        return TextRetrieval(
            recall=retrieval_recall(own, texts, pool.image_of_text, ks=self.config.ks),
            image_of_text=pool.image_of_text,
            truncated=None if cut is None else cut.texts_cut,
            probes=self.text_probes(pool, own, texts) if probed else None,
            pool=pool,
            embeddings=texts,
        )

    def text_probes(self, pool: TextPool, images: torch.Tensor, texts: torch.Tensor) -> TextProbes:
        arguments = (self.encoder, images, pool.texts, pool.image_of_text)
        kept: Any = {"cache": self.cache, "on_progress": self.on_progress}
        return TextProbes(
            lengths=recall_by_length(*arguments, **kept),
            sentences=sentence_probes(*arguments, text_embeddings=texts, **kept),
            details=detail_accuracy(*arguments, text_embeddings=texts, **kept),
            separation=separation(images, pool.texts, texts, pool.image_of_text),
            monotonicity=monotonicity(*arguments, **kept),
            perturbations=perturbations(
                *arguments, contradictions=self.contradictions(pool), **kept
            ),
        )

    def contradictions(self, pool: TextPool) -> dict[int, str]:
        """Return the texts of a pool with a late detail false, by place, where the data has any."""
        false = [
            self.collection.contradictions(self.images.indices[row]) for row in pool.image_rows
        ]
        places: dict[int, list[int]] = {}
        for place, image in enumerate(pool.image_of_text.tolist()):
            places.setdefault(image, []).append(place)
        return {
            place: text
            for image, texts in enumerate(false)
            if texts
            for place, text in zip(places[image], texts, strict=True)
        }

    def choices(self, choices: ChoiceSet) -> ChoiceResult:
        row_of_image = {index: row for row, index in enumerate(self.images.indices)}

        def embed(texts: Sequence[str]) -> torch.Tensor:
            stage, kept = f"{choices.name}: captions", self.cache
            progress = self.on_progress
            return embed_as_read(self.encoder, texts, stage=stage, cache=kept, on_progress=progress)

        return answer_choices(choices, row_of_image, self.images.embeddings, embed)

    def classification(self, labels: LabelSet, templates: Sequence[str]) -> ZeroShotResult:
        if max(self.images.indices) >= len(labels.targets):
            raise UsageError(
                f"label set {labels.name!r} has {len(labels.targets)} targets, fewer than images"
            )
        stage = f"{labels.name}: prompts"
        done, total = 0, len(labels.classes) * len(templates)

        def encode(prompts: Sequence[str]) -> torch.Tensor:
            nonlocal done
            embeddings = embed_texts(self.encoder, prompts, cache=self.cache)
            done += len(prompts)
            self.on_progress(stage, done, total)
            return embeddings

        self.on_progress(stage, 0, total)
        classifier = zero_shot_classifier(encode, labels.classes, templates)
        targets = torch.tensor([labels.targets[index] for index in self.images.indices])
        return top1_accuracy(self.images.embeddings, classifier, targets)
