"""From a plan and a collection to batches of pixels and token ids, prepared in other processes."""

import mmap
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from longclip.data import Captions, Collection, Columns
from longclip.data.captions import DEFAULT_POLICY, TextPolicy, sample_texts
from longclip.data.open import open_training_data
from longclip.data.shard_cache import ShardCache
from longclip.errors import ImageError
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP
from longclip.spec import EOT, STOCK_CONTEXT
from longclip.text.tokenizer import clip_tokenizer
from longclip.training.config import TrainConfig
from longclip.training.distributed import World
from longclip.training.plan import Plan
from longclip.training.signals import heed_parent_alone

PAD = 0
"""OpenAI's padding token; another end of text in front would end the text there."""


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
    """N pairs, K short texts each.

    Attributes:
        pixels: uint8 [N, 3, H, W].
        short: int64 [N·K, longest], short texts as the model in training reads them.
        plain: the same without what was put before them; for a teacher.
        long: int64 [N, longest], long texts.
        crops: float32 [N, 3], what part of each picture is used: side as a share of the whole,
            and where its centre is, from −1 to 1 in x and y.
        bad: what was wrong with items that had to be left out.
    """

    pixels: NDArray[np.uint8]
    short: NDArray[np.int64]
    plain: NDArray[np.int64]
    long: NDArray[np.int64]
    crops: NDArray[np.float32]
    bad: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Reading:
    """How pairs are read.

    Attributes:
        short: tokens that a short text may have.
        long: tokens that a long text may have, and a short one with PADs before it.
        policy: which texts of an item are read, where its source says nothing else.
        pad_prefix: up to this many PADs go before each short text.
        crop_scale: smallest share of a picture's side that a random crop keeps.
        seed: of all choices.
    """

    short: int
    long: int
    policy: TextPolicy = DEFAULT_POLICY
    pad_prefix: int = 0
    crop_scale: float = 1.0
    seed: int = 0


class Pairs(Dataset[Batch]):
    """Batches by their (epoch, index) keys; what each holds depends on those and the seed."""

    def __init__(self, store: PixelStore, reading: Reading) -> None:
        self.store = store
        self.reading = reading

    def __getitem__(self, keys: list[tuple[int, int]]) -> Batch:
        reading = self.reading
        pixels, texts, crops, pads, bad = [], [], [], [], []
        for epoch, index in keys:
            random = np.random.default_rng((reading.seed, 1, epoch, index))
            try:
                captions = self._captions(index)
                pixels.append(self.store[index])
            except (ImageError, MissingText) as error:
                bad.append(str(error))
                continue
            policy = self.store.collection.policy_of(index, reading.policy)
            texts.append(sample_texts(captions, random, policy))
            crops.append(_crop(random, reading.crop_scale))
            if reading.pad_prefix:
                pads += random.integers(0, reading.pad_prefix + 1, len(texts[-1].short)).tolist()
        plain = _ids([text for pair in texts for text in pair.short], reading.short)
        return Batch(
            pixels=np.stack(pixels) if pixels else np.empty((0, 3, 0, 0), np.uint8),
            short=_with_pads(plain, pads, reading.long) if pads else plain,
            plain=plain,
            long=_ids([pair.long for pair in texts], reading.long),
            crops=np.array(crops, np.float32).reshape(-1, 3),
            bad=tuple(bad),
        )

    def _captions(self, index: int) -> Captions:
        captions = self.store.collection.captions(index)
        if not captions.short and not captions.long:
            raise MissingText(f"{self.store.collection.name}, item {index}: no caption")
        return captions


LOADED_AT_ONCE = 64
"""Pairs that a worker prepares in one go: a step of thousands is shared by all workers."""


def batches(
    pairs: Pairs, plan: Plan, *, first_step: int, workers: int, world: World | None = None
) -> Iterator[Batch]:
    """A process's share of all batches of the plan from `first_step` on, in order."""
    # Workers must share the pixel store, which only a fork does.
    parallel = workers if "fork" in multiprocessing.get_all_start_methods() else 0
    share = world.share(plan.batch_size) if world else slice(0, plan.batch_size)
    parts = max(1, -(-(share.stop - share.start) // LOADED_AT_ONCE))
    loader = DataLoader(
        pairs,
        sampler=_parts(plan, first_step, share, parts),  # type: ignore[arg-type,unused-ignore]
        batch_size=None,
        # Arrays go through a pipe; torch's own conversion would need room in /dev/shm.
        collate_fn=_as_is,  # type: ignore[arg-type]
        num_workers=parallel,
        # About one step ahead, and not more than memory has room for.
        prefetch_factor=min(32, max(2, -(-parts // parallel) + 1)) if parallel else None,
        multiprocessing_context="fork" if parallel else None,
        worker_init_fn=heed_parent_alone if parallel else None,
    )
    whole = _whole(loader, parts)
    yield from _ahead(whole) if parallel else whole


def _whole(loaded: Iterable[Batch], parts: int) -> Iterator[Batch]:
    """Steps of so many pieces each."""
    pieces = iter(loaded)
    for first in pieces:
        yield _joined([first, *(next(pieces) for _ in range(parts - 1))])


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same, each made while the one before it is used.

    What workers have prepared is a gigabyte for a step of thousands: taking it out of their pipes
    and putting it together takes seconds.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def _parts(
    plan: Plan, first_step: int, share: slice, parts: int
) -> Iterator[list[tuple[int, int]]]:
    """The keys of each step's share, in pieces."""
    for keys in plan.batches(first_step):
        mine = keys[share]
        for i in range(parts):
            yield mine[i * len(mine) // parts : (i + 1) * len(mine) // parts]


def _joined(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    whole = [part.pixels for part in parts if len(part)]
    return Batch(
        pixels=np.concatenate(whole) if whole else parts[0].pixels,
        short=_stacked([part.short for part in parts]),
        plain=_stacked([part.plain for part in parts]),
        long=_stacked([part.long for part in parts]),
        crops=np.concatenate([part.crops for part in parts]),
        bad=tuple(line for part in parts for line in part.bad),
    )


def _stacked(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    rows, longest = sum(map(len, parts)), max(part.shape[1] for part in parts)
    ids = np.full((rows, longest), EOT, np.int64)
    start = 0
    for part in parts:
        ids[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return ids


def _as_is(batch: Batch) -> Batch:
    return batch


def _ids(texts: list[str], limit: int) -> NDArray[np.int64]:
    rows = clip_tokenizer().encode(texts, context_length=limit)
    ids = np.full((len(rows), max(map(len, rows), default=0)), EOT, np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids


def _with_pads(plain: NDArray[np.int64], pads: list[int], limit: int) -> NDArray[np.int64]:
    """Put so many PADs between the begin of each text and the text itself, as the limit allows."""
    lengths = (plain == EOT).argmax(axis=1) + 1
    counts = np.minimum(pads, limit - lengths)
    ids = np.full((len(plain), int((lengths + counts).max())), EOT, np.int64)
    for row, text, count, length in zip(ids, plain, counts, lengths, strict=True):
        row[0] = text[0]
        row[1 : 1 + count] = PAD
        row[1 + count : length + count] = text[1:length]
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


def open_store(config: TrainConfig, model: CLIP, world: World) -> PixelStore:
    """Open the data of a run; the processes of one machine share the memory for pictures."""
    if not world.first:
        # Shards are scanned and tables converted once; the others find them done.
        world.wait()
    try:
        collection = open_training_data(
            config.data,
            columns=Columns(
                image=config.image_column or None,
                short=config.short_column or None,
                long=config.long_column or None,
            ),
            images=config.images,
            cache=ShardCache(
                Path(config.shard_cache) if config.shard_cache else None, config.shard_cache_gb
            ),
        )
    finally:
        if world.first:
            world.wait()
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return PixelStore(collection, model.preprocess, config.cache_gb / beside)


def reading_of(config: TrainConfig, model: CLIP) -> Reading:
    """Return how a run reads pairs.

    Short texts alone are as long as every CLIP reads them, beside long ones as long as those.
    """
    length = model.context_length
    return Reading(
        short=length if config.texts == "long" else min(STOCK_CONTEXT, length),
        long=length,
        policy=TextPolicy(config.short_texts, config.join_short, config.positives),
        pad_prefix=config.pad_prefix,
        crop_scale=config.crop_scale,
        seed=config.seed,
    )
