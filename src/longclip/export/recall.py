"""What 8 bits cost: recall of ONNX files of int8 against those of float32, on the same data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from longclip.data.collection import Collection
from longclip.data.holdout import Subset
from longclip.encoders.onnx_encoder import open_onnx
from longclip.errors import CheckpointError, DataError, ImageError
from longclip.evaluation.config import EvaluateConfig
from longclip.evaluation.measure import evaluate
from longclip.evaluation.session import Request, open_requests
from longclip.model.clip import CLIP
from longclip.spec import CALIBRATION_PICTURES, MAX_RECALL_LOSS, Task
from longclip.util.terminal import SILENT, OnProgress


@dataclass(frozen=True, kw_only=True)
class Int8:
    """Data by which int8 files are made and judged.

    Attributes:
        data: as `longclip eval` takes it.
        images: folders that paths of pictures in it start from.
        calibration_pictures: how many of its pictures, drawn at random, give the ranges of
            activations.
        max_recall_loss: points of recall@1, the worst of all that are measured, beyond which the
            files are refused.
        pairs: how many pictures, with their texts, recall is measured on at most.
    """

    data: str
    images: tuple[Path, ...] = ()
    calibration_pictures: int = CALIBRATION_PICTURES
    max_recall_loss: float = MAX_RECALL_LOSS
    pairs: int = 1000


@dataclass(frozen=True)
class RecallPair:
    """Recall@1 of both precisions on one task, one way.

    Attributes:
        data: name of the collection.
        task: by long or by short texts.
        direction: `image_to_text` or `text_to_image`.
        images: how many compete.
        texts: how many compete.
        float32: share of hits.
        int8: share of hits.
    """

    data: str
    task: Task
    direction: str
    images: int
    texts: int
    float32: float
    int8: float

    @property
    def loss(self) -> float:
        """Points that int8 loses."""
        return 100 * (self.float32 - self.int8)


@dataclass(frozen=True)
class Sample:
    """Pictures to take ranges of, and collections to measure recall on."""

    pixels: NDArray[np.float32]
    measured: tuple[tuple[Collection, tuple[Task, ...]], ...]


def draw_sample(model: CLIP, int8: Int8) -> Sample:
    """Draw pictures from the data, the same ones each time.

    Recall is measured on other pictures than ranges are taken of, where there are enough.

    Raises:
        DataError: if the data cannot be read or have no texts.
        ImageError: if none of the pictures that are drawn can be read.
    """
    requests = open_requests((int8.data,), root=Path("data"), images=int8.images)
    requests = [request for request in requests if _has_texts(request)]
    if not requests:
        raise DataError(f"{int8.data} has no texts, by which recall could be measured (--data)")
    measured: list[tuple[Collection, tuple[Task, ...]]] = []
    pixels: list[NDArray[np.uint8]] = []
    random = np.random.default_rng(0)
    for request in requests:
        tasks = tuple(task for task in request.tasks if task in ("long", "short"))
        items = random.permutation(len(request.collection))
        own = -(-int8.calibration_pictures // len(requests))
        calibrating, others = items[:own], items[own:]
        pixels += _readable(model, request.collection, calibrating)
        # With less than as many again, leaving those out would leave too few.
        pool = (others if len(others) >= own else items)[: max(1, int8.pairs // len(requests))]
        measured.append((Subset(request.collection, np.sort(pool)), tasks))
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return Sample(model.preprocess.normalize(stacked).numpy(), tuple(measured))


def _has_texts(request: Request) -> bool:
    texts = (request.collection.captions(item) for item in range(len(request.collection)))
    return request.tasks != ("zero-shot",) and any(own.long or own.short for own in texts)


def _readable(
    model: CLIP, collection: Collection, items: NDArray[np.int64]
) -> list[NDArray[np.uint8]]:
    """Return the pixels of those pictures that can be read.

    Raises:
        ImageError: if none of them can.
    """
    found: list[NDArray[np.uint8]] = []
    for number, item in enumerate(items.tolist()):
        try:
            found.append(model.preprocess.pixels(collection.image(item)))
        except ImageError:
            if not found and number == len(items) - 1:
                raise
    return found


def compare_recall(
    directory: Path, sample: Sample, on_progress: OnProgress = SILENT
) -> tuple[RecallPair, ...]:
    """Measure recall@1 of the files of both precisions, by long and by short texts, both ways.

    Args:
        directory: a model's, with both.
        sample: what to measure on.
        on_progress: as `evaluate` calls it.

    Raises:
        DataError: if the sample has no texts.
    """
    encoders = {"float32": open_onnx(directory, "float32"), "int8": open_onnx(directory, "int8")}
    found: list[RecallPair] = []
    for collection, tasks in sample.measured:
        # Both precisions are measured on what can be read, however much that is.
        config = EvaluateConfig(tasks=tasks, ks=(1,), max_bad_fraction=1.0)
        both = [
            evaluate(encoder, collection, name=name, config=config, on_progress=on_progress)
            for name, encoder in encoders.items()
        ]
        for task in tasks:
            full, quantized = (getattr(result, task) for result in both)
            if full is None:  # these data have texts of one kind
                continue
            for direction in ("image_to_text", "text_to_image"):
                float32, int8 = (
                    getattr(retrieval.recall, direction)[1] for retrieval in (full, quantized)
                )
                images, texts = full.recall.images, full.recall.texts
                found.append(
                    RecallPair(collection.name, task, direction, images, texts, float32, int8)
                )
    if not found:
        raise DataError("the pictures of --data that were drawn have no texts; name other data")
    return tuple(found)


def refuse_loss(recall: tuple[RecallPair, ...], allowed: float) -> None:
    """Refuse files of 8 bits that find too much less.

    Raises:
        CheckpointError: says how much, and where.
    """
    worst = max(recall, key=lambda pair: pair.loss)
    if worst.loss > allowed:
        way = worst.direction.replace("_", " ")
        raise CheckpointError(
            f"8 bits lose {worst.loss:.1f} points of recall@1 ({worst.data}, {worst.task} texts, "
            f"{way}: {100 * worst.float32:.1f} to {100 * worst.int8:.1f}), and "
            f"--max-recall-loss allows {allowed:g}; nothing was written. Take --dtype float16, "
            "--data that are more like what will be searched, or allow more"
        )
