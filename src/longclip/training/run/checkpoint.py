"""Checkpoints of a run: written in the background, whole or not at all, and known by checksums.

Any number of processes can go on from one. They are safetensors files made by torch's
distributed checkpoint, each process writing its own share, and a JSON file with everything that is
no tensor, and the checksums of all: nothing in them can run when it is read.
"""

import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.tensor import DTensor

from longclip.errors import CheckpointError
from longclip.model.identity import files_sha256
from longclip.runs.run_files import (
    CHECKPOINT_PREFIX,
    CHECKPOINT_STATE,
    CHECKPOINTS,
    run_checkpoints,
)
from longclip.training.distributed import World
from longclip.util.sealed_json import read_sealed, write_sealed

# torch's own, which holds what went wrong in each process, is a BaseException.
_FAILURES = (Exception, CheckpointException)


class CheckpointWarning(UserWarning):
    """Warning that a checkpoint could not be written; the one before it is still there."""


@dataclass(frozen=True)
class _Pending:
    """A checkpoint that is being written."""

    step: int
    work: Path
    future: Future[dict[str, str]]
    progress: dict[str, Any]


class RunCheckpoints:
    """Checkpoints of one run, the last `keep` of them.

    Args:
        run: the run's directory.
        world: the processes; each calls every method, in the same order.
        keep: how many checkpoints stay.
        config: the run's configuration as it goes into JSON, of which each checkpoint has a copy.
    """

    def __init__(self, run: Path, world: World, keep: int, config: Mapping[str, Any]) -> None:
        self.directory = run / CHECKPOINTS
        self._world = world
        self._keep = keep
        self._config = config
        self._hashing = ThreadPoolExecutor(1)
        self._pending: _Pending | None = None
        # No news where there is one process. It comes from the writing thread, which a filter
        # around the call would not reach.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        # Writing goes on beside training, and its collectives must not mix with those of steps.
        self._group = dist.new_group(backend="gloo") if world.size > 1 else None

    def save(self, step: int, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Begin a checkpoint; the tensors are copied before this returns.

        Args:
            step: steps done.
            tensors: weights and moments by name; sharded ones are written as shards.
            progress: all else that resuming needs; must go into JSON.
        """
        self.finish()
        work = self.directory / f".{CHECKPOINT_PREFIX}{step:08d}"
        error: OSError | None = None
        if self._world.first:
            shutil.rmtree(work, ignore_errors=True)
            try:
                work.mkdir(parents=True)
            except OSError as caught:
                error = caught
        if self._failed_anywhere(error):
            self._give_up(step, work, error)
            return
        future: Any = async_save(
            own_share(tensors, self._world),
            storage_writer=HuggingFaceStorageWriter(str(work), save_distributed=True),
            process_group=self._group,
            no_dist=self._world.size == 1,
        )

        def checksums() -> dict[str, str]:
            """Wait until this process has written its files, and hash them; beside training."""
            future.result()
            own = work.glob(f"shard-{self._world.rank + 1:05}-*")
            return {file.name: files_sha256([file]) for file in own}

        self._pending = _Pending(step, work, self._hashing.submit(checksums), progress)

    @property
    def written(self) -> bool:
        """Return whether this process has written its share of one, which waits for `finish`."""
        return self._pending is not None and self._pending.future.done()

    def finish(self) -> None:
        """Wait for the checkpoint under way and put it in its place; warn where that failed."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        # The order makes a checkpoint whole or none: tensors, then `state.json`, then, once all
        # processes have said that their tensors are there, the folder's own name. A process that is
        # killed in between leaves a folder with a dot, which nothing takes for a checkpoint and the
        # next resume deletes; older checkpoints go only when the new one stands.
        error: BaseException | None = None
        mine: dict[str, str] = {}
        try:
            mine = pending.future.result()
        except _FAILURES as caught:
            error = caught
        files = {
            name: sha256
            for checksums in self._world.gather_objects(mine)
            for name, sha256 in checksums.items()
        }
        if error is None and self._world.first:
            state = {"progress": pending.progress, "files": files, "config": self._config}
            try:
                write_sealed(pending.work / CHECKPOINT_STATE, state)
            except OSError as caught:
                error = caught
        if self._failed_anywhere(error):
            self._give_up(pending.step, pending.work, error)
            return
        if self._world.first:
            final = self.directory / f"{CHECKPOINT_PREFIX}{pending.step:08d}"
            shutil.rmtree(final, ignore_errors=True)  # of a run that does this step again
            pending.work.rename(final)
            for old in run_checkpoints(self.directory)[: -self._keep]:
                shutil.rmtree(old, ignore_errors=True)
        self._world.wait()

    def _failed_anywhere(self, error: BaseException | None) -> bool:
        """Return whether any process has an error, so that all give up together or none."""
        return any(failed for [failed] in self._world.gather_numbers(int(error is not None)))

    def _give_up(self, step: int, work: Path, error: BaseException | None) -> None:
        """Warn and go on with the checkpoint before: training is worth more than one of them."""
        if self._world.first:
            shutil.rmtree(work, ignore_errors=True)
        if error is not None:
            last = run_checkpoints(self.directory)
            kept = f"{last[-1]} is kept" if last else "there is none before it"
            warnings.warn(
                f"the checkpoint of step {step} could not be written ({_reason(error)}); {kept}. "
                "Make room: the next one is tried again",
                CheckpointWarning,
                stacklevel=2,
            )

    def load(self, tensors: dict[str, Tensor]) -> dict[str, Any] | None:
        """Fill `tensors` in place from the last checkpoint that is as it was written.

        A damaged one is named in a warning, and put aside once the one before it is loaded.

        Args:
            tensors: weights and moments by name, see `training_tensors`; sharded in any way.

        Returns:
            What `save` got as progress; None where there is no checkpoint.

        Raises:
            CheckpointError: if all are damaged, or the last whole one does not fit.
        """
        if self._world.first:
            # What was being written when the run was killed would stay for ever.
            self._remove_unfinished()
        # Others see a directory that the first one changes: all go by what that one has found.
        found = self._world.gather_objects(run_checkpoints(self.directory))[0]
        damaged: dict[Path, str] = {}
        for path in reversed(found):
            state = self._checked(path)
            if isinstance(state, str):
                damaged[path] = state
                continue
            if self._world.first:
                for other, problem in damaged.items():
                    warnings.warn(
                        f"{problem}; {path}, the checkpoint before it, is taken, and the steps "
                        "since are made again",
                        CheckpointWarning,
                        stacklevel=2,
                    )
                    other.rename(other.with_name(f".{other.name}"))
            try:
                load(
                    tensors,
                    storage_reader=HuggingFaceStorageReader(str(path)),
                    no_dist=self._world.size == 1,
                )
            except _FAILURES as error:
                raise CheckpointError(
                    f"{path} does not fit this run ({_reason(error)}); start anew with --overwrite"
                ) from error
            progress: dict[str, Any] = state["progress"]
            return progress
        if damaged:
            raise CheckpointError(
                f"{self.directory} has no whole checkpoint: {'; '.join(damaged.values())}. Put "
                "back a copy, or start anew with --overwrite"
            )
        return None

    def _checked(self, path: Path) -> dict[str, Any] | str:
        """Compare a checkpoint with its checksums: what its state file holds, or what is wrong."""
        state: dict[str, Any] | str = ""
        if self._world.first:
            try:
                state = read_sealed(path / CHECKPOINT_STATE)
            except (OSError, CheckpointError) as error:
                state = str(error) if isinstance(error, CheckpointError) else _missing(error)
        state = self._world.gather_objects(state)[0]
        if isinstance(state, str):
            return state
        # Each process reads its part of the files: together they are several models large.
        names, problem = sorted(state["files"]), ""
        for name in names[self._world.rank :: self._world.size]:
            try:
                if files_sha256([path / name]) != state["files"][name]:
                    problem = f"{path / name} is damaged: its checksum is another"
            except OSError as error:
                problem = _missing(error)
        extra = {file.name for file in path.glob("*.safetensors")} - set(names)
        if extra:
            problem = f"{path / min(extra)} does not belong there"
        problems = self._world.gather_objects(problem)
        return next(filter(None, problems), state)

    def keep_last(self) -> None:
        """Delete all but the last checkpoint, and what is unfinished: the run has ended."""
        if self._world.first:
            self._remove_unfinished()
            for old in run_checkpoints(self.directory)[:-1]:
                shutil.rmtree(old, ignore_errors=True)

    def _remove_unfinished(self) -> None:
        for work in self.directory.glob(f".{CHECKPOINT_PREFIX}*"):
            shutil.rmtree(work, ignore_errors=True)


def _missing(error: OSError) -> str:
    return f"{error.filename} cannot be read ({error.strerror})"


def own_share(tensors: dict[str, Tensor], world: World) -> dict[str, Tensor]:
    """Return what a process writes: its shards, and about as much as others of what all hold."""
    # The copies that are written lie in host memory: a machine with eight GPUs would else hold a
    # replicated model and its moments eight times.
    alike = {name: value for name, value in tensors.items() if not isinstance(value, DTensor)}
    total, before = sum(value.nbytes for value in alike.values()), 0
    mine = {name: value for name, value in tensors.items() if name not in alike}
    for name, value in alike.items():
        if before * world.size // total == world.rank:
            mine[name] = value
        before += value.nbytes
    return mine


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all that learning has made, by name: the tensors themselves, to be saved or filled.

    An optimiser that has made no step yet gets its moments here, so that they can be filled.

    Args:
        model: whose parameters and buffers are named `model.NAME`.
        optimizer: AdamW, whose state is named `optimizer.NAME.step`, `.exp_avg`, `.exp_avg_sq`.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    tensors: dict[str, Tensor] = {
        f"model.{name}": value.detach() for name, value in model.named_parameters()
    }
    # Statistics of batches, which other libraries' image towers may have.
    stored = model.state_dict().keys()
    tensors |= {f"model.{name}": b for name, b in model.named_buffers() if name in stored}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if not state:  # as fused AdamW makes it in its first step
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            for key in ("step", "exp_avg", "exp_avg_sq"):
                tensors[f"optimizer.{names[parameter]}.{key}"] = state[key]
    return tensors


def _reason(error: BaseException) -> str:
    """Return the first thing that went wrong, in a line."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return text[-1] if text else type(error).__name__
