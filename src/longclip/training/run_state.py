"""A run on disk: its configuration, its metrics and the checkpoint to go on from."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from longclip import __version__
from longclip._files import atomic_path, write_text
from longclip.training.config import TrainConfig

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.pt"
MODEL = "model"

# Where and how often a run writes and how fast it goes may change between a start and a resume;
# everything else would make the resumed run another run.
_MAY_CHANGE = ("out", "workers", "cache_gb", "checkpoint_every", "log_every", "max_bad_fraction")


class RunDirectory:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, config: TrainConfig) -> None:
        """Write the resolved configuration of a new run.

        Raises:
            FileExistsError: if the directory holds a run already.
        """
        if (self.path / CONFIG).exists():
            raise FileExistsError(
                f"{self.path} already holds a run; continue it with --resume or take another --out"
            )
        write_text(self.path / CONFIG, json.dumps(_as_json(config), indent=2) + "\n")
        (self.path / METRICS).write_text("")

    def clear(self) -> None:
        """Forget the run, so that another may start here; its model stays until that one ends."""
        for name in (CONFIG, METRICS, CHECKPOINT):
            (self.path / name).unlink(missing_ok=True)

    def resume(self, config: TrainConfig) -> dict[str, Any] | None:
        """The last checkpoint, or None where the run was stopped before its first.

        Raises:
            ValueError: if the run was started with another configuration.
        """
        try:
            started = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"{self.path} holds no run to resume; leave out --resume") from None
        asked = _as_json(config)
        changed = [
            f"{key} was {started.get(key)!r}, now {asked[key]!r}"
            for key in asked
            if key not in (*_MAY_CHANGE, "longclip") and started.get(key) != asked[key]
        ]
        if changed:
            raise ValueError(
                f"{self.path} was started with other settings ({'; '.join(changed)}); "
                "resume with the same ones or start a new run"
            )
        path = self.path / CHECKPOINT
        if not path.exists():
            self._cut_metrics(0)
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self._cut_metrics(int(state["step"]))
        return state

    def write_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; at any moment the file is a whole one."""
        with atomic_path(self.path / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def log(self, values: dict[str, Any]) -> None:
        """Append one line of metrics."""
        with (self.path / METRICS).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(values) + "\n")

    def _cut_metrics(self, step: int) -> None:
        """Drop what was logged after the checkpoint; those steps are done again."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return float("inf")


def _as_json(config: TrainConfig) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    return {
        "longclip": __version__,
        **{key: str(v) if isinstance(v, Path) else v for key, v in values.items()},
        "data": list(config.data),
    }
