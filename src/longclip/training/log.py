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

TENSORBOARD = "tensorboard"
WANDB_ID = "wandb-id"


def forget(run: Path) -> None:
    """Delete what watchers have kept of a run; another may start in its place."""
    shutil.rmtree(run / TENSORBOARD, ignore_errors=True)
    (run / WANDB_ID).unlink(missing_ok=True)


class _Watcher(Protocol):
    name: str

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, *, failed: bool) -> None: ...


class Watchers:
    """Those who watch a run from outside; none where nothing is asked for.

    Only mistakes of the user stop a run, and before it starts. A watcher that fails later, as
    a network does, is left out with one warning, and the run goes on.

    Args:
        run: the run's directory. TensorBoard reads `run/tensorboard`; the identity of the W&B run
            is kept there too, so that a run that is resumed goes on in it.
        config: the settings to be shown.
        tensorboard: write TensorBoard's event files.
        wandb: a W&B project, PROJECT or ENTITY/PROJECT; empty for none. Without a network set
            WANDB_MODE=offline and call `wandb sync` later.

    Raises:
        ValueError: if a package is missing; says what to install.
    """

    def __init__(
        self, run: Path, config: Mapping[str, Any], *, tensorboard: bool = False, wandb: str = ""
    ) -> None:
        self._watchers: list[_Watcher] = []
        if tensorboard:
            self._watchers.append(_TensorBoard(run, config))
        if wandb:
            self._watchers.append(_WeightsAndBiases(run, config, wandb))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Tell all of them; `values` is a line of metrics, and what is no number is left out."""
        numbers = dict(_flat(values))
        for watcher in tuple(self._watchers):
            try:
                watcher.log(step, numbers)
            except Exception as error:  # each library fails in its own ways
                self._leave_out(watcher, error)

    def close(self, *, failed: bool = False) -> None:
        """Write what is not yet written; `failed` where the run has not reached its end."""
        for watcher in tuple(self._watchers):
            try:
                watcher.close(failed=failed)
            except Exception as error:
                self._leave_out(watcher, error)
        self._watchers.clear()

    def _leave_out(self, watcher: _Watcher, error: Exception) -> None:
        self._watchers.remove(watcher)
        said = str(error).strip() or type(error).__name__
        warnings.warn(
            f"{watcher.name} fails ({said.splitlines()[0]}); the run goes on without it, "
            "and metrics.jsonl has everything",
            stacklevel=3,
        )


class _TensorBoard:
    name = "TensorBoard"

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        module = _import("torch.utils.tensorboard", option="--tensorboard", install="tensorboard")
        self._make_writer = module.SummaryWriter
        self._directory = run / TENSORBOARD
        self._config = config
        self._writer: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            # A resumed run does steps again: what was written of them before is hidden.
            self._writer = self._make_writer(self._directory, purge_step=step)
            text = json.dumps(self._config, indent=4, default=str)
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
            self._run = self._start()
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        if self._run is not None:
            self._run.finish(exit_code=int(failed))

    def _start(self) -> Any:
        entity, _, project = self._project.rpartition("/")
        return self._library.init(
            project=project,
            entity=entity or None,
            name=self._directory.name,
            id=self._identity(),
            resume="allow",
            dir=str(self._directory),
            config=dict(self._config),
        )

    def _identity(self) -> str:
        path = self._directory / WANDB_ID
        if not path.exists():
            path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        return path.read_text(encoding="utf-8").strip()


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers by name; those of an evaluation below `evaluation/`, the rest below `train/`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", v) for inner, v in value.items() if is_number(v))
        elif is_number(value) and name != "step":
            yield f"train/{name}", value


def _import(module: str, *, option: str, install: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{option} needs a package that cannot be imported ({error}); pip install {install}, "
            f"or leave out {option}"
        ) from error


T = TypeVar("T")


@dataclass(frozen=True)
class Stretch:
    """A few steps.

    Attributes:
        pairs: learned from, over all processes.
        seconds: they took.
        waited: seconds of these that no batch was ready.
    """

    pairs: int
    seconds: float
    waited: float

    @property
    def pairs_per_second(self) -> float:
        """0 where nothing has been done."""
        return self.pairs / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        share = self.waited / self.seconds if self.seconds else 0.0
        return f"{self.pairs_per_second:.3g} pairs/s, {share:.0%} waiting for data"


class Clock:
    """Measures steps; what lies between `pause` and the next step does not count."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._pairs = 0
        self._seconds = self._waited = 0.0

    def next(self, stream: Iterator[T]) -> T:
        """The next batch; waiting for it is noted."""
        asked = time.perf_counter()
        batch = next(stream)
        self._waited += time.perf_counter() - asked
        return batch

    def step(self, pairs: int) -> float:
        """A step is done: the seconds it took."""
        seconds = self.pause()
        self._pairs += pairs
        self._seconds += seconds
        return seconds

    def pause(self) -> float:
        """Forget the time since the last step."""
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        return seconds

    def so_far(self) -> Stretch:
        """The steps since `restart`."""
        return Stretch(self._pairs, self._seconds, self._waited)

    def restart(self) -> Stretch:
        """The steps since the last call of this."""
        found = self.so_far()
        self._pairs, self._seconds, self._waited = 0, 0.0, 0.0
        return found
