"""Search for neighbours by the model in training, whose groups make the next steps' batches."""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from longclip.data.mixture import Mixture
from longclip.errors import CheckpointError, LongCLIPError, TrainingError
from longclip.training.config import TrainConfig
from longclip.training.data import Pairs, padded
from longclip.training.distributed import World, gather
from longclip.training.forward import ParallelTowers
from longclip.training.neighbours import (
    mean_cosines,
    merged_kinds,
    neighbour_groups,
    refuse_copies,
)
from longclip.training.plan import GroupedPasses, Groups, Plan
from longclip.training.run.checkpoint import CheckpointWarning
from longclip.training.run.groups_file import read_groups, write_groups

TEXTS_AT_ONCE = 512
"""Texts that a process embeds between two looks at whether the run is to stop."""


OnTexts = Callable[[int, int], None]
"""Called while neighbours are looked for, with (texts embedded, texts to embed), from 0 on."""


@dataclass(frozen=True)
class Mining:
    """Search for neighbours.

    Attributes:
        config: of the run, with `neighbours`.
        towers: the model in training.
        autocast: makes the context that the towers run in.
        world: the processes; each calls every method, in the same order.
        run: the run's directory.
        made_from: what groups depend on beside options.
    """

    config: TrainConfig
    towers: ParallelTowers
    autocast: Callable[[], AbstractContextManager[Any]]
    world: World
    run: Path
    made_from: Mapping[str, Any]

    def next_step(self, step: int, total: int) -> int:
        """Return the step before which groups are made anew after `step`, or the run ends."""
        every = self.config.neighbours_every
        return min(total, (step // every + 1) * every) if every else total

    def kept(self, plan: Plan, step: int) -> tuple[Plan, bool]:
        """Return the plan with the groups of a run that goes on, and whether they are for its step.

        Those of the steps before are needed, too: by them it is known what is left of a pass.
        """
        every = self.config.neighbours_every or plan.total_steps
        found: GroupedPasses | None = None
        if self.world.first:
            try:
                earliest = max(0, step - 1) // every * every
                found = read_groups(self.run, range(earliest, step + 1), self.made_from)
            except (FileNotFoundError, CheckpointError) as error:
                if step:
                    warnings.warn(
                        f"{error}; groups are made anew by the model as it is now, and the run "
                        "does not go on exactly as it would have",
                        CheckpointWarning,
                        stacklevel=2,
                    )
        found = self.world.from_first(found)
        if found is None:
            return plan, False
        return replace(plan, grouped=found), found.step >= step // every * every

    def mined(
        self,
        plan: Plan,
        step: int,
        pairs: Pairs,
        *,
        stopped: Callable[[], bool],
        on_texts: OnTexts | None,
    ) -> Plan | None:
        """Return the plan with groups made by the model as it is now; None if the run is to stop.

        Args:
            plan: until now.
            step: steps done.
            pairs: of the data.
            stopped: returns whether this process was told to stop.
            on_texts: told how far it is.

        Raises:
            UsageError: if too many items have the same text or picture.
            TrainingError: if embeddings are no longer finite.
        """
        left = plan.left(step)
        in_pass = step % plan.steps_per_epoch
        pass_end = step - in_pass + plan.steps_per_epoch
        goes_on = self.next_step(step, plan.total_steps) > pass_end
        items = left if in_pass and not goes_on else np.arange(plan.items)
        # Only the first process needs the embeddings.
        rows = len(items) if self.world.first else 0
        vectors = np.empty((rows, self.towers.towers.clip.embedding_dim), np.float32)
        texts = np.empty(rows, np.int64)
        chunk = TEXTS_AT_ONCE * self.world.size
        for start in range(0, len(items), chunk):
            if on_texts:
                on_texts(start, len(items))
            if any(told for [told] in self.world.gather_numbers(int(stopped()))):
                return None
            found_vectors, found_texts = self._embedded(pairs, items[start : start + chunk])
            if self.world.first:
                vectors[start : start + chunk] = found_vectors
                texts[start : start + chunk] = found_texts
        if on_texts:
            on_texts(len(items), len(items))
        found: GroupedPasses | Exception | None = None
        if self.world.first:
            try:
                found = self._grouped(plan, step, pairs, items, left, vectors, texts)
            except LongCLIPError as error:
                found = error
        found = self.world.from_first(found)
        if isinstance(found, Exception):
            raise found
        return replace(plan, grouped=found)

    def _embedded(
        self, pairs: Pairs, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the embeddings [n, D] of these items' texts, and a number [n] for each text."""
        world, device = self.world, self.world.device
        shares = [replace(world, rank=rank).share(len(items)) for rank in range(world.size)]
        counts = [share.stop - share.start for share in shares]
        mine = items[shares[world.rank]]
        read = pairs.single_texts(mine.tolist(), self.config.texts)
        # An item without a text, which will be left out, is like no other.
        numbers = [
            _number(ids or [-1, item]) for ids, item in zip(read, mine.tolist(), strict=True)
        ]
        # A process with fewer texts joins the others' collectives all the same.
        blank = pairs.options.tokenizer.encode([""], context_length=pairs.options.short)
        ids = padded([each or blank[0] for each in read] or blank, pairs.options.pad_token_id)
        with self.autocast():
            _, features, _, _ = self.towers.forward_without_graph(None, torch.from_numpy(ids))
        assert features is not None
        own = F.normalize(features[: len(mine)].float(), dim=-1)
        with torch.no_grad():
            vectors = gather(own, counts, world)
            texts = gather(torch.tensor(numbers, dtype=torch.int64, device=device), counts, world)
        return vectors.cpu().numpy(), texts.cpu().numpy()

    def _grouped(
        self,
        plan: Plan,
        step: int,
        pairs: Pairs,
        items: NDArray[np.int64],
        left: NDArray[np.int64],
        vectors: NDArray[np.float32],
        texts: NDArray[np.int64],
    ) -> GroupedPasses:
        """Make groups of embedded items and write them; in the first process.

        Args:
            plan: until now.
            step: steps done.
            pairs: of the data.
            items: int64 [N], what is embedded.
            left: those that the pass under way has not given.
            vectors: [N, D].
            texts: int64 [N], equal for equal texts.
        """
        if not np.isfinite(vectors).all():
            raise TrainingError(
                f"embeddings are no longer finite after step {step}: training has diverged; start "
                "again with a lower --lr"
            )
        size, collection = self.config.neighbours, pairs.store.collection
        pictures = np.array(
            collection.picture_numbers() if isinstance(collection, Mixture) else (), np.int64
        )
        kinds = merged_kinds(texts, pictures[items].tolist() if len(pictures) else ())
        if len(items) == plan.items:
            refuse_copies(kinds, size)

        def groups_of(part: NDArray[np.int64], name: int) -> Groups:
            random = np.random.default_rng((plan.seed, 7, step, name))
            if len(part) == len(items):  # all: without a copy of them
                return neighbour_groups(vectors, kinds, size, items, random)
            rows = np.searchsorted(items, part)
            return neighbour_groups(vectors[rows], kinds[rows], size, part, random)

        in_pass = step % plan.steps_per_epoch > 0
        rest = groups_of(left, 0) if in_pass else None
        whole = groups_of(items, 1) if len(items) == plan.items else None
        grouped = GroupedPasses(step, rest, whole)
        shown = whole or rest
        assert shown is not None
        inside, any_two = mean_cosines(vectors, np.searchsorted(items, shown.members))
        cosines = {"of a group": inside, "of any two": any_two}
        try:
            write_groups(self.run, grouped, self.made_from, cosines)
        except OSError as error:
            warnings.warn(
                f"the groups of step {step} could not be written ({error.strerror}); make room: if "
                "the run is stopped before there are others, it is resumed with new ones",
                CheckpointWarning,
                stacklevel=2,
            )
        return grouped


def _number(ids: list[int]) -> int:
    """Return a number for a text that others do not have."""
    digest = hashlib.blake2b(np.array(ids, np.int64).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
