"""Batches of pixels and token ids, read from a collection in a plan's order by worker processes."""

import mmap
import multiprocessing
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from longclip.data import Collection
from longclip.data.captions import DEFAULT_POLICY, TextPolicy, sample_texts
from longclip.data.mixture import Mixture
from longclip.data.open import open_training_data
from longclip.data.tar.shard_cache import ShardCache
from longclip.errors import ImageError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP
from longclip.spec import EOT, STOCK_CONTEXT
from longclip.text.tokenizer import TextTokenizer, clip_tokenizer, cut_ids
from longclip.training.config import Texts, TrainConfig
from longclip.training.distributed import World
from longclip.training.plan import Key, Plan
from longclip.training.preflight import columns_of
from longclip.training.process import begin_data_worker

PAD = 0
"""OpenAI's padding token, which goes before a text where another end would end it there."""

MAX_PAIRS_AT_ONCE = 64
"""Pairs that a worker prepares in one go: a step of thousands is shared by all workers."""


class PixelStore:
    """Pictures of a collection at model size, decoded once where memory allows.

    The memory is shared with forked worker processes: what one decodes all can use.

    Args:
        collection: of the pictures.
        preprocess: what they are scaled and cropped by.
        cache_gb: memory for them; where all would not fit, each is decoded when it is wanted.
    """

    def __init__(self, collection: Collection, preprocess: Preprocess, cache_gb: float) -> None:
        self.collection = collection
        self.preprocess = preprocess
        count, side = len(collection), preprocess.image_size
        self._pixels: NDArray[np.uint8] | None = None
        if (size := count * 3 * side * side) <= cache_gb * 1e9:
            # Anonymous maps, which a fork shares; numpy's own memory it would copy when written to.
            # The kernel gives pages as they are first written. A map must not be empty.
            pixels = np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8)[:size]
            self._pixels = pixels.reshape(count, 3, side, side)
            self._known = np.frombuffer(mmap.mmap(-1, max(count, 1)), np.bool_)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of an item, uint8 [3, H, W].

        Raises:
            ImageError: if the picture cannot be read.
        """
        if self._pixels is not None and self._known[index]:
            known: NDArray[np.uint8] = self._pixels[index]
            return known
        pixels = self.preprocess.pixels(self.collection.image(index))
        decoded = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        if self._pixels is not None:
            # No lock: two workers that decode the same picture write the same bytes, and none
            # takes them for known before they are all there.
            self._pixels[index] = decoded
            self._known[index] = True
        return decoded


@dataclass(frozen=True)
class Batch:
    """N pairs, K short texts each.

    Attributes:
        pixels: uint8 [N, 3, H, W].
        short: int64 [N·K, longest], short texts as the model in training reads them.
        plain: the same without what was put before them, cut to what a teacher reads.
        long: int64 [N, longest], long texts.
        crops: float32 [N, 3], what part of each picture is used: side as a share of the whole,
            and where its centre is, from −1 to 1 in x and y.
        bad: what was wrong with items that had to be left out.
        pad_token_id: what ids are padded with.
    """

    pixels: NDArray[np.uint8]
    short: NDArray[np.int64]
    plain: NDArray[np.int64]
    long: NDArray[np.int64]
    crops: NDArray[np.float32]
    bad: tuple[str, ...]
    pad_token_id: int = EOT

    def __len__(self) -> int:
        return len(self.pixels)

    @staticmethod
    def concatenate(parts: "Sequence[Batch]") -> "Batch":
        """Return the pairs of all parts, at least one, as one batch."""
        if len(parts) == 1:
            return parts[0]
        # A part of bad items alone has pixels of no size.
        pixels = [part.pixels for part in parts if len(part)]
        pad = parts[0].pad_token_id
        return Batch(
            pixels=np.concatenate(pixels) if pixels else parts[0].pixels,
            short=padded([row for part in parts for row in part.short], pad),
            plain=padded([row for part in parts for row in part.plain], pad),
            long=padded([row for part in parts for row in part.long], pad),
            crops=np.concatenate([part.crops for part in parts]),
            bad=tuple(line for part in parts for line in part.bad),
            pad_token_id=pad,
        )


@dataclass(frozen=True)
class ReadOptions:
    """Options of how pairs are read.

    Attributes:
        short: tokens that a short text may have.
        long: tokens that a long text may have, and a short one with PADs before it.
        policy: which texts of an item are read, where its source says nothing else.
        pad_prefix: up to this many PADs go before each short text.
        crop_scale: smallest share of a picture's side that a random crop keeps.
        seed: of all choices.
        taught: tokens of a short text that a teacher reads; 0 for as many as the model.
        tokenizer: of the model.
        pad_token_id: of the model.
    """

    short: int
    long: int
    policy: TextPolicy = DEFAULT_POLICY
    pad_prefix: int = 0
    crop_scale: float = 1.0
    seed: int = 0
    taught: int = 0
    tokenizer: TextTokenizer = field(default_factory=clip_tokenizer)
    pad_token_id: int = EOT


class Pairs(Dataset[Batch]):
    """Batches by their (epoch, index) keys.

    Args:
        store: of the pictures, and of the collection that has the texts.
        options: of reading.
    """

    def __init__(self, store: PixelStore, options: ReadOptions) -> None:
        self.store = store
        self.options = options

    def __getitem__(self, keys: list[Key]) -> Batch:
        """Read the pairs of these keys; those that cannot be used are listed in `bad`."""
        options, collection = self.options, self.store.collection
        pixels, texts, crops, pads, bad = [], [], [], [], []
        for epoch, index in keys:
            # A generator for each pair: its texts and its crop depend on the seed and its key alone
            # and not on the worker that reads it, its neighbours, or the step a run resumes from.
            random = np.random.default_rng((options.seed, 1, epoch, index))
            try:
                captions = collection.captions(index)
                if not captions.short and not captions.long:
                    bad.append(f"{collection.name}, item {index}: no caption")
                    continue
                pixels.append(self.store[index])
            except ImageError as error:
                bad.append(str(error))
                continue
            policy = collection.policy_of(index, options.policy)
            texts.append(sample_texts(captions, random, policy))
            scale = random.uniform(options.crop_scale, 1.0)
            x, y = random.uniform(-1, 1), random.uniform(-1, 1)
            crops.append((scale, (1.0 - scale) * x, (1.0 - scale) * y))
            if options.pad_prefix:
                pads += random.integers(0, options.pad_prefix + 1, len(texts[-1].short)).tolist()
        encode, pad = options.tokenizer.encode, options.pad_token_id
        short = encode([t for pair in texts for t in pair.short], context_length=options.short)
        long = encode([pair.long for pair in texts], context_length=options.long)
        end, taught = options.tokenizer.end_tokens, options.taught or options.short
        return Batch(
            pixels=np.stack(pixels) if pixels else np.empty((0, 3, 0, 0), np.uint8),
            short=padded(_with_pads(short, pads, options.long) if pads else short, pad),
            plain=padded([cut_ids(ids, taught, end) for ids in short], pad),
            long=padded(long, pad),
            crops=np.array(crops, np.float32).reshape(-1, 3),
            bad=tuple(bad),
            pad_token_id=pad,
        )

    def single_texts(self, items: Iterable[int], kind: Texts) -> list[list[int]]:
        """Return the token ids of one text of each item: of a long one, whole, or of a short one.

        Of several it is drawn, always the same. None has no ids.
        """
        options, collection = self.options, self.store.collection
        texts: list[str | None] = []
        for index in items:
            captions = collection.captions(index)
            if not captions.short and not captions.long:
                texts.append(None)
                continue
            policy = replace(collection.policy_of(index, options.policy), long="whole")
            random = np.random.default_rng((options.seed, 5, index))
            sampled = sample_texts(captions, random, policy)
            texts.append(sampled.long if kind == "long" else sampled.short[0])
        length = options.long if kind == "long" else options.short
        read = iter(
            options.tokenizer.encode([t for t in texts if t is not None], context_length=length)
        )
        return [[] if text is None else next(read) for text in texts]


def batches(
    pairs: Pairs,
    plan: Plan,
    *,
    first_step: int,
    workers: int,
    world: World | None = None,
    end: int | None = None,
) -> Iterator[Batch]:
    """Yield this process's share of all batches of the plan from `first_step` on, in order.

    Args:
        pairs: of the data.
        plan: of the run.
        first_step: steps done before.
        workers: processes that read; with 0, or where there is no fork, this one reads.
        world: the processes that share a batch; None for this one alone.
        end: the step before which to end; that of the run if None.
    """
    # Workers must share the pixel store, which only a fork does.
    workers = workers if "fork" in multiprocessing.get_all_start_methods() else 0
    share = world.share(plan.batch_size) if world else slice(0, plan.batch_size)
    # Workers take turns. With whole steps for turns the first one would be waited for while the
    # others read far ahead, each with a step in memory; in pieces all read the next step together.
    pieces = max(1, -(-(share.stop - share.start) // MAX_PAIRS_AT_ONCE))
    keys = (
        mine[i * len(mine) // pieces : (i + 1) * len(mine) // pieces]
        for mine in (step_keys[share] for step_keys in plan.batches(first_step, end))
        for i in range(pieces)
    )
    with warnings.catch_warnings():
        # Said twice; the number is the user's, and workers that wait for files need no processor.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader = DataLoader(
            pairs,
            sampler=keys,  # type: ignore[arg-type,unused-ignore]
            batch_size=None,
            # Arrays go through a pipe; torch's own conversion would need room in /dev/shm, of which
            # containers have 64 MB.
            collate_fn=lambda batch: batch,
            num_workers=workers,
            # About one step ahead, and not more than memory has room for.
            prefetch_factor=min(32, max(2, -(-pieces // workers) + 1)) if workers else None,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=partial(begin_data_worker, os.getpid()) if workers else None,
        )
        read = iter(loader)
    steps = (Batch.concatenate([first, *islice(read, pieces - 1)]) for first in read)
    if not workers:
        yield from steps
        return
    # What workers have prepared is a gigabyte for a step of thousands: taking it out of their pipes
    # and putting it together takes seconds. A thread does so while the step before is used.
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, steps, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, steps, None)
            yield batch


def padded(rows: "Sequence[Sequence[int] | NDArray[np.int64]]", pad: int) -> NDArray[np.int64]:
    """Return token ids as one array [rows, longest], padded behind each text."""
    ids = np.full((len(rows), max(map(len, rows), default=0)), pad, np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids


def _with_pads(texts: list[list[int]], pads: list[int], limit: int) -> list[list[int]]:
    """Put so many PADs between the begin of each text and the text itself, as the limit allows."""
    return [
        [text[0], *[PAD] * min(count, limit - len(text)), *text[1:]]
        for text, count in zip(texts, pads, strict=True)
    ]


def crop(pixels: Tensor, crops: Tensor) -> Tensor:
    """Cut each picture and bring it back to size, bilinearly.

    Args:
        pixels: float [B, 3, H, W].
        crops: float [B, 3], see `Batch`.

    Returns:
        [B, 3, H, W] in the dtype of `pixels`.
    """
    scale, x, y = crops.to(pixels.dtype).unbind(dim=1)
    zero = torch.zeros_like(scale)
    matrix = torch.stack([torch.stack([scale, zero, x], 1), torch.stack([zero, scale, y], 1)], 1)
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def open_data(config: TrainConfig, world: World) -> Mixture:
    """Open the data of a run, in the first process before the others.

    Raises:
        ValueError: if the data cannot be opened, or a source of it asks for long texts that the
            run does not go with.
    """
    if not world.first:
        # Shards are scanned and tables converted once; the others find them done.
        world.wait()
    try:
        data = open_training_data(
            config.data,
            columns=columns_of(config),
            images=config.images,
            cache=ShardCache(
                Path(config.shard_cache) if config.shard_cache else None, config.shard_cache_gb
            ),
        )
    finally:
        # Also where that failed: the others then fail by themselves, and do not wait for ever.
        if world.first:
            world.wait()
    for part in data.parts:
        try:
            replace(config, long_texts=part.texts.long or config.long_texts)
        except UsageError as error:
            raise UsageError(f"{part.name} of the mixture says long = …: {error}") from None
    return data


def make_store(config: TrainConfig, model: CLIP, collection: Collection) -> PixelStore:
    """Return a store; the processes of one machine share the memory for pictures."""
    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return PixelStore(collection, model.preprocess, config.cache_gb / processes_here)


def read_options(config: TrainConfig, model: CLIP, teacher: CLIP | None = None) -> ReadOptions:
    """Return how a run reads pairs.

    Raises:
        UsageError: if PADs are to go before texts of a model for which they mean something else.
    """
    length = model.context_length
    text = model.config.text
    assert text
    if config.pad_prefix and (text.reads_padding or model.tokenizer_files):
        raise UsageError(
            "--pad-prefix puts CLIP's padding before short texts, and this model "
            + ("reads its padding" if text.reads_padding else "has a vocabulary of its own")
            + "; leave it out"
        )
    return ReadOptions(
        # Short texts alone are as long as every CLIP reads them, beside long ones as long as those.
        short=length if config.texts == "long" else min(STOCK_CONTEXT, length),
        long=length,
        policy=TextPolicy(
            config.short_texts, config.join_short, config.positives, config.long_texts
        ),
        pad_prefix=config.pad_prefix,
        crop_scale=config.crop_scale,
        seed=config.seed,
        taught=teacher.context_length if teacher else 0,
        tokenizer=model.tokenizer,
        pad_token_id=model.pad_token_id,
    )
