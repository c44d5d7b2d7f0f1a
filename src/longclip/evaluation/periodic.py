"""Periodic evaluation of a model while it is trained."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.data import Captions, ChoiceSet, Collection, Columns, LabelSet
from longclip.encoders.clip_encoder import CLIPEncoder
from longclip.errors import UsageError
from longclip.evaluation.config import EvaluateConfig
from longclip.evaluation.measure import evaluate
from longclip.evaluation.session import Request, open_requests
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP

_MEMORY_GB = 2.0
"""Memory for decoded pictures."""


def periodic_evaluation(
    data: Sequence[str],
    *,
    root: Path = Path("data"),
    columns: Columns | None = None,
    images: Sequence[str | Path] = (),
    on_start: Callable[[list[str]], None] | None = None,
    batch_size: int = EvaluateConfig.batch_size,
    workers: int | None = None,
    max_bad_fraction: float = EvaluateConfig.max_bad_fraction,
    memory_gb: float = _MEMORY_GB,
) -> Callable[[CLIP], dict[str, float]]:
    """Open data once, to be measured on again and again.

    The function that is returned takes a model and gives recall at 1, top-1 accuracy and scores of
    choices, fractions of 1, by names such as `scenes/val long T2I R@1` (text to image), `photos
    short I2T R@1` (image to text), `scenes/test-short weather top-1` and `winoground group`. The
    model is in evaluation mode meanwhile and then in its own again; random numbers are not touched.
    Under an `autocast` of the caller it embeds in that precision.

    Args:
        data: whatever `longclip eval --data` takes, at least one.
        root: where benchmarks lie.
        columns: which columns mean what; for tables.
        images: folders that paths of pictures start from.
        on_start: called with lines for people on what the data was taken for.
        batch_size: images per forward pass.
        workers: threads that decode; one per processor where None.
        max_bad_fraction: the largest share of images that may be unreadable.
        memory_gb: for decoded pictures; those beyond it are decoded each time.

    Raises:
        longclip.data.DataError: if something is missing, or has nothing to measure.
        ValueError: if two collections have one name, so that results could not be told apart.
    """
    requests = open_requests(
        data, root=root, columns=columns, images=images, max_bad_fraction=max_bad_fraction
    )
    counts = Counter(request.name for request in requests)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UsageError(
            f"--evaluate names {counts[twice[0]]} collections that are called {twice[0]}, whose "
            "results could not be told apart; rename one, or leave it out"
        )
    if on_start:
        summaries = (summary for request in requests for summary in request.summaries)
        on_start([f"evaluate: {line}" for summary in summaries for line in summary.lines()])
    config = EvaluateConfig(
        ks=(1,), max_bad_fraction=max_bad_fraction, batch_size=batch_size, workers=workers
    )
    return _measurement(requests, config, memory_gb)


def holdout_evaluation(
    held_out: Collection, max_bad_fraction: float = EvaluateConfig.max_bad_fraction
) -> Callable[[CLIP], dict[str, float]]:
    """Return what measures a model on pictures held out of training, as `periodic_evaluation` does.

    Args:
        held_out: the pictures.
        max_bad_fraction: the largest share of them that may be unreadable.
    """
    config = EvaluateConfig(ks=(1,), max_bad_fraction=max_bad_fraction)
    return _measurement([Request(held_out)], config, _MEMORY_GB)


def _measurement(
    requests: Sequence[Request], config: EvaluateConfig, memory_gb: float
) -> Callable[[CLIP], dict[str, float]]:
    budget = _ByteBudget(int(memory_gb * 2**30))
    collections = [_DecodedCollection(request.collection, budget) for request in requests]
    return partial(_measure, requests, collections, config)


def _measure(
    requests: Sequence[Request],
    collections: Sequence["_DecodedCollection"],
    config: EvaluateConfig,
    model: CLIP,
) -> dict[str, float]:
    values: dict[str, float] = {}
    with _evaluation_mode(model):
        for request, collection in zip(requests, collections, strict=True):
            collection.preprocess = model.preprocess
            encoder = CLIPEncoder(model, "the model in training")
            tasks = replace(config, tasks=request.tasks)
            result = evaluate(encoder, collection, name="model", config=tasks)
            for kind, found in (("long", result.long), ("short", result.short)):
                if found:
                    values[f"{request.name} {kind} T2I R@1"] = found.recall.text_to_image[1]
                    values[f"{request.name} {kind} I2T R@1"] = found.recall.image_to_text[1]
            for task, classified in result.zero_shot.items():
                values[f"{request.name} {task} top-1"] = classified.accuracy
            for answers in result.choices.values():
                for score, share in answers.scores.items():
                    values[f"{request.name} {score}"] = share
    return values


@contextmanager
def _evaluation_mode(model: CLIP) -> Iterator[None]:
    # Parts of a model that is partly frozen may each be in a mode of their own.
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass
class _ByteBudget:
    """Bytes left for decoded pictures, shared by all collections."""

    left: int


@dataclass
class _DecodedCollection(Collection):
    """A collection that keeps its pictures as the model takes them, within a budget of bytes.

    Preprocessing leaves a picture alone that has been through it, so nothing else changes.
    """

    collection: Collection
    budget: _ByteBudget
    preprocess: Preprocess | None = None
    pixels: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.collection.name
        self.absent = self.collection.absent

    def __len__(self) -> int:
        return len(self.collection)

    def image(self, index: int) -> Image.Image:
        kept = self.pixels.get(index)
        if kept is not None:
            return Image.fromarray(kept)
        picture = self.collection.image(index)
        if self.preprocess is None:
            return picture
        pixels = self.preprocess.pixels(picture)
        if self.budget.left >= pixels.nbytes:
            self.budget.left -= pixels.nbytes
            self.pixels[index] = pixels
        return Image.fromarray(pixels)

    def key(self, index: int) -> str:
        return self.collection.key(index)

    def captions(self, index: int) -> Captions:
        return self.collection.captions(index)

    def label_sets(self) -> Sequence[LabelSet]:
        return self.collection.label_sets()

    def choice_sets(self) -> Sequence[ChoiceSet]:
        return self.collection.choice_sets()
