"""From a plan and a collection to batches of pixels and token ids, prepared in other processes."""

import mmap
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from longclip.data import Captions, Collection
from longclip.data.captions import sample_texts
from longclip.inputs import ImageError, Preprocess, clip_tokenizer
from longclip.training.plan import Plan

EOT = 49407


class MissingText(ValueError):
    """An item that nothing can be learned from."""


class PixelStore:
    """The pictures of a collection at model size, decoded once where memory allows.

    The memory is shared with forked worker processes: what one decodes all can use.
    """

    def __init__(self, collection: Collection, preprocess: Preprocess, cache_gb: float) -> None:
        self.collection = collection
        self.preprocess = preprocess
        shape = (len(collection), 3, preprocess.image_size, preprocess.image_size)
        self._pixels: NDArray[np.uint8] | None = None
        if (size := int(np.prod(shape))) <= cache_gb * 1e9:
            self._pixels = np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8)[:size].reshape(
                shape
            )
            self._known = np.frombuffer(mmap.mmap(-1, max(shape[0], 1)), np.bool_)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """uint8 [3, H, W]; raises ImageError where the picture cannot be read."""
        if self._pixels is None:
            return self._decode(index)
        if not self._known[index]:
            self._pixels[index] = self._decode(index)
            self._known[index] = True
        pixels: NDArray[np.uint8] = self._pixels[index]
        return pixels

    def _decode(self, index: int) -> NDArray[np.uint8]:
        pixels = self.preprocess.pixels(self.collection.image(index))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@dataclass(frozen=True)
class Batch:
    """The pairs of one step.

    Attributes:
        pixels: uint8 [B, 3, H, W].
        short: int64 [B, longest], short texts.
        long: int64 [B, longest], long texts.
        crops: float32 [B, 3], what part of each picture is used: side as a share of the whole,
            and where its centre is, from −1 to 1 in x and y.
        bad: what was wrong with items that had to be left out.
    """

    pixels: NDArray[np.uint8]
    short: NDArray[np.int64]
    long: NDArray[np.int64]
    crops: NDArray[np.float32]
    bad: tuple[str, ...]


@dataclass(frozen=True)
class TextLimits:
    """How many tokens each kind of text may have."""

    short: int
    long: int


class Pairs(Dataset[Batch]):
    """Whole batches by their (epoch, index) keys; what each holds depends on those and the seed."""

    def __init__(
        self,
        store: PixelStore,
        *,
        limits: TextLimits,
        crop_scale: float,
        seed: int,
        join_short: int = 1,
    ) -> None:
        self.store = store
        self.limits = limits
        self.crop_scale = crop_scale
        self.seed = seed
        self.join_short = join_short

    def __getitem__(self, keys: list[tuple[int, int]]) -> Batch:
        pixels, shorts, longs, crops, bad = [], [], [], [], []
        for epoch, index in keys:
            random = np.random.default_rng((self.seed, 1, epoch, index))
            try:
                captions = self._captions(index)
                pixels.append(self.store[index])
            except (ImageError, MissingText) as error:
                bad.append(str(error))
                continue
            short, long = sample_texts(captions, random, join_short=self.join_short)
            shorts.append(short)
            longs.append(long)
            crops.append(_crop(random, self.crop_scale))
        return Batch(
            pixels=np.stack(pixels) if pixels else np.empty((0, 3, 0, 0), np.uint8),
            short=_ids(shorts, self.limits.short),
            long=_ids(longs, self.limits.long),
            crops=np.array(crops, np.float32).reshape(-1, 3),
            bad=tuple(bad),
        )

    def _captions(self, index: int) -> Captions:
        captions = self.store.collection.captions(index)
        if not captions.short and not captions.long:
            raise MissingText(f"{self.store.collection.name}, item {index}: no caption")
        return captions


def batches(pairs: Pairs, plan: Plan, *, first_step: int, workers: int) -> Iterator[Batch]:
    """All batches of the plan from `first_step` on, in order."""
    # Workers must share the pixel store, which only a fork does.
    parallel = workers if "fork" in multiprocessing.get_all_start_methods() else 0
    loader = DataLoader(
        pairs,
        sampler=plan.batches(first_step),  # type: ignore[arg-type,unused-ignore]
        batch_size=None,
        # Arrays go through a pipe; torch's own conversion would need room in /dev/shm.
        collate_fn=_as_is,  # type: ignore[arg-type]
        num_workers=parallel,
        multiprocessing_context="fork" if parallel else None,
    )
    yield from loader


def _as_is(batch: Batch) -> Batch:
    return batch


def _ids(texts: list[str], limit: int) -> NDArray[np.int64]:
    rows = clip_tokenizer().encode(texts, context_length=limit)
    ids = np.full((len(rows), max(map(len, rows), default=0)), EOT, np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids


def _crop(random: np.random.Generator, smallest: float) -> tuple[float, float, float]:
    scale = random.uniform(smallest, 1.0)
    room = 1.0 - scale
    return scale, room * random.uniform(-1, 1), room * random.uniform(-1, 1)


def crop(pixels: Tensor, crops: Tensor) -> Tensor:
    """Cut each picture and bring it back to size; float [B, 3, H, W], crops float [B, 3]."""
    scale, x, y = crops.to(pixels.dtype).unbind(dim=1)
    zero = torch.zeros_like(scale)
    matrix = torch.stack([torch.stack([scale, zero, x], 1), torch.stack([zero, scale, y], 1)], 1)
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
