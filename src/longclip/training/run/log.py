"""Logging of a run beside `metrics.jsonl`: its pace, TensorBoard, and Weights & Biases."""

import importlib
import json
import shutil
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from longclip.errors import UsageError
from longclip.runs.run_files import is_number

T = TypeVar("T")

_TENSORBOARD_FOLDER = "tensorboard"
_WANDB_ID_FILE = "wandb-id"


def delete_tracker_files(run: Path) -> None:
    """Delete what trackers have kept of a run; another may start in its place."""
    shutil.rmtree(run / _TENSORBOARD_FOLDER, ignore_errors=True)
    (run / _WANDB_ID_FILE).unlink(missing_ok=True)


class _Tracker(Protocol):
    name: str

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, *, failed: bool) -> None: ...


class Trackers:
    """Experiment trackers that a run reports to; none where nothing is asked for.

    Only mistakes of the user stop a run, and before it starts. A tracker that fails later, as a
    network does, is left out with one warning, and the run goes on.

    Args:
        run: the run's directory. TensorBoard reads `run/tensorboard`; the identity of the W&B run
            is kept there too, so that a run that is resumed goes on in it.
        config: the settings to be shown.
        tensorboard: write TensorBoard's event files.
        wandb: a W&B project, PROJECT or ENTITY/PROJECT; empty for none. Without a network set
            WANDB_MODE=offline and call `wandb sync` later.

    Raises:
        ValueError: if a package is missing; the message says what to install.
    """

    def __init__(
        self, run: Path, config: Mapping[str, Any], *, tensorboard: bool = False, wandb: str = ""
    ) -> None:
        self._trackers: list[_Tracker] = []
        if tensorboard:
            self._trackers.append(_TensorBoard(run, config))
        if wandb:
            self._trackers.append(_WeightsAndBiases(run, config, wandb))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log the numbers of a line of metrics to all trackers.

        Those of an evaluation go below `evaluation/`, the others below `train/`.
        """
        numbers: dict[str, float] = {}
        for name, value in values.items():
            if isinstance(value, Mapping):
                numbers |= {f"{name}/{inner}": v for inner, v in value.items() if is_number(v)}
            elif is_number(value) and name != "step":
                numbers[f"train/{name}"] = value
        for tracker in tuple(self._trackers):
            try:
                tracker.log(step, numbers)
            except Exception as error:  # each library fails in its own ways
                self._leave_out(tracker, error)

    def close(self, *, failed: bool = False) -> None:
        """Write what is not yet written; `failed` where the run has not reached its end."""
        for tracker in tuple(self._trackers):
            try:
                tracker.close(failed=failed)
            except Exception as error:
                self._leave_out(tracker, error)
        self._trackers.clear()

    def _leave_out(self, tracker: _Tracker, error: Exception) -> None:
        self._trackers.remove(tracker)
        reason = str(error).strip() or type(error).__name__
        warnings.warn(
            f"{tracker.name} fails ({reason.splitlines()[0]}); the run goes on without it, "
            "and metrics.jsonl has everything",
            stacklevel=3,
        )


class _TensorBoard:
    name = "TensorBoard"

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        module = _import("torch.utils.tensorboard", option="--tensorboard", install="tensorboard")
        self._make_writer = module.SummaryWriter
        self._directory = run / _TENSORBOARD_FOLDER
        self._config = config
        self._writer: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        # Opened at the first line and not before: a run that fails at once leaves no trace here.
        if self._writer is None:
            # A resumed run does steps again: what was written of them before is hidden.
            self._writer = self._make_writer(self._directory, purge_step=step)
            text = json.dumps(self._config, indent=4, default=str)
            # The page shows Markdown, in which an indented text is code.
            self._writer.add_text("config", "    " + text.replace("\n", "\n    "), step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        # Metrics come seldom, and those who watch want them at once.
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        if self._writer is not None:
            self._writer.close()


class _WeightsAndBiases:
    name = "Weights & Biases"

    def __init__(self, run: Path, config: Mapping[str, Any], project: str) -> None:
        self._library = _import("wandb", option="--wandb", install="wandb")
        self._directory = run
        self._config = config
        self._project = project
        self._run: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is None:
            entity, _, project = self._project.rpartition("/")
            identity = self._directory / _WANDB_ID_FILE
            if not identity.exists():
                identity.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
            self._run = self._library.init(
                project=project,
                entity=entity or None,
                name=self._directory.name,
                id=identity.read_text(encoding="utf-8").strip(),
                resume="allow",
                dir=str(self._directory),
                config=dict(self._config),
            )
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        if self._run is not None:
            self._run.finish(exit_code=int(failed))


def _import(module: str, *, option: str, install: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{option} needs a package that cannot be imported ({error}); pip install {install}, "
            f"or leave out {option}"
        ) from error


@dataclass(frozen=True)
class StepTimes:
    """Times of some steps in a row.

    Attributes:
        pairs: learned from, over all processes.
        seconds: they took.
        waited: seconds of these in which no batch was ready.
    """

    pairs: int
    seconds: float
    waited: float

    @property
    def pairs_per_second(self) -> float:
        """Return the pace; 0 where no step was made."""
        return self.pairs / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        share = self.waited / self.seconds if self.seconds else 0.0
        return f"{self.pairs_per_second:.3g} pairs/s, {share:.0%} waiting for data"


class Clock:
    """Clock of steps; what lies between `pause` and the next step does not count."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._pairs = 0
        self._seconds = self._waited = 0.0

    def wait_for(self, stream: Iterator[T]) -> T:
        """Return the next item and note how long that took."""
        asked = time.perf_counter()
        item = next(stream)
        self._waited += time.perf_counter() - asked
        return item

    def end_step(self, pairs: int) -> float:
        """Note that a step of so many pairs is done; return the seconds it took."""
        seconds = self.pause()
        self._pairs += pairs
        self._seconds += seconds
        return seconds

    def pause(self) -> float:
        """Leave the time since the last step out of the next one, and return its seconds."""
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        return seconds

    def so_far(self) -> StepTimes:
        """Return the times of the steps since `restart`."""
        return StepTimes(self._pairs, self._seconds, self._waited)

    def restart(self) -> StepTimes:
        """Return the times of the steps since the last call of this."""
        times = self.so_far()
        self._pairs, self._seconds, self._waited = 0, 0.0, 0.0
        return times
