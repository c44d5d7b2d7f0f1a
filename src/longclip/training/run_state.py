"""A run on disk: its configuration and its metrics."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from longclip import __version__
from longclip.errors import UsageError
from longclip.runs.run_files import CHECKPOINTS, CONFIG, METRICS
from longclip.training.config import RENAMED, TrainConfig, resumable
from longclip.training.distributed import World
from longclip.training.log import forget
from longclip.util.files import write_text


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
        write_text(self.path / CONFIG, json.dumps(config_json(config), indent=2) + "\n")
        (self.path / METRICS).write_text("")

    def clear(self) -> None:
        """Forget the run, so that another may start here; its model stays until that one ends."""
        for name in (CONFIG, METRICS):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
        forget(self.path)

    def begin(self, config: TrainConfig, world: World, *, resume: bool) -> None:
        """`check` or `start`, in the first process; its errors are raised in all of them."""
        error: Exception | None = None
        if world.first:
            try:
                self.check(config) if resume else self.start(config)
            except (ValueError, OSError) as caught:
                error = caught
        for found in world.gather_objects(error):
            if found is not None:
                raise found

    def check(self, config: TrainConfig) -> None:
        """See that the run here may go on with this configuration.

        Raises:
            ValueError: if there is none, or it was started with another configuration.
        """
        try:
            started = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{self.path} holds no run to resume; leave out --resume") from None
        # What an earlier version did not know it did as the default says.
        started = config_json(TrainConfig()) | _renamed(started)
        asked = config_json(config)
        changed = [
            f"{key} was {started.get(key)!r}, now {asked[key]!r}"
            for key in asked
            if not (resumable(key) or key == "longclip") and started.get(key) != asked[key]
        ]
        if changed:
            raise UsageError(
                f"{self.path} was started with other settings ({'; '.join(changed)}); "
                "resume with the same ones or start a new run"
            )

    def log(self, values: dict[str, Any]) -> None:
        """Append one line of metrics."""
        with (self.path / METRICS).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(values) + "\n")

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after the checkpoint; those steps are done again."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return float("inf")


def config_json(config: TrainConfig) -> dict[str, Any]:
    """The configuration as it goes into config.json."""
    values = dataclasses.asdict(config)
    return {
        "longclip": __version__,
        **{key: str(v) if isinstance(v, Path) else v for key, v in values.items()},
        "data": list(config.data),
        "images": [str(path) for path in config.images],
        "evaluate": list(config.evaluate),
    }


def read_config(run: Path) -> TrainConfig:
    """The configuration that a run was started with.

    Raises:
        ValueError: if there is no run, or another version wrote it whose options are not known.
    """
    try:
        values = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{run} holds no run to resume; leave out --resume") from None
    version = values.pop("longclip", "another version")
    values = _renamed(values)
    kinds = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    unknown = values.keys() - kinds.keys()
    if unknown:
        raise UsageError(
            f"{run / CONFIG}, written by longclip {version}, has options that longclip "
            f"{__version__} does not know: {', '.join(sorted(unknown))}; resume with that version"
        )
    values |= {name: tuple(v) for name, v in values.items() if isinstance(kinds[name], tuple)}
    values["out"] = run
    values["images"] = tuple(map(Path, values.get("images", ())))
    return TrainConfig(**values)


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in values.items()}
