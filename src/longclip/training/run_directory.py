"""The directory of a run: its configuration, its metrics, and leave to begin or go on in it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from longclip import __version__
from longclip.errors import UsageError
from longclip.runs.run_files import CHECKPOINTS, CONFIG, METRICS
from longclip.training.config import RENAMED_OPTIONS, TrainConfig, resumable_options
from longclip.training.distributed import World
from longclip.training.log import delete_tracker_files
from longclip.util.files import write_text


class RunDirectory:
    """Files of one run, written by its first process.

    Args:
        path: the directory, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, config: TrainConfig, world: World, *, resume: bool) -> None:
        """Call `check` or `start` in the first process, and raise its error in all of them."""
        error: Exception | None = None
        if world.first:
            try:
                self.check(config) if resume else self.start(config)
            except (ValueError, OSError) as caught:
                error = caught
        # Raised in the first alone it would leave the others waiting in their next collective.
        for found in world.gather_objects(error):
            if found is not None:
                raise found

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

    def check(self, config: TrainConfig) -> None:
        """Check that the run here may go on with this configuration.

        Raises:
            ValueError: if there is none, or it was started with another configuration.
        """
        # An option that an earlier version did not know had what is now its default.
        started = config_json(TrainConfig()) | _written_config(self.path)
        asked = config_json(config)
        free = resumable_options() | {"longclip"}
        changed = [
            f"{key} was {started.get(key)!r}, now {asked[key]!r}"
            for key in asked
            if key not in free and started.get(key) != asked[key]
        ]
        if changed:
            raise UsageError(
                f"{self.path} was started with other settings ({'; '.join(changed)}); "
                "resume with the same ones or start a new run"
            )

    def clear(self) -> None:
        """Delete the run, so that another may start here; its model stays until that one ends."""
        for name in (CONFIG, METRICS):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
        delete_tracker_files(self.path)

    def log(self, values: dict[str, Any]) -> None:
        """Append one line of metrics."""
        with (self.path / METRICS).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(values) + "\n")

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after the checkpoint of this step; later steps are done again."""
        path, kept = self.path / METRICS, ""
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                if float(json.loads(line)["step"]) <= step:
                    kept += f"{line}\n"
            except (json.JSONDecodeError, KeyError):
                continue  # the process was killed while it wrote this
        write_text(path, kept)


def config_json(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as it goes into config.json."""
    values = dataclasses.asdict(config)
    return {
        "longclip": __version__,
        **{key: str(v) if isinstance(v, Path) else v for key, v in values.items()},
        "data": list(config.data),
        "images": [str(path) for path in config.images],
        "evaluate": list(config.evaluate),
    }


def read_config(run: Path) -> TrainConfig:
    """Return the configuration that a run was started with.

    Raises:
        ValueError: if there is no run, or another version wrote it whose options are not known.
    """
    values = _written_config(run)
    version = values.pop("longclip", "another version")
    kinds = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    unknown = values.keys() - kinds.keys()
    if unknown:
        raise UsageError(
            f"{run / CONFIG}, written by longclip {version}, has options that longclip "
            f"{__version__} does not know: {', '.join(sorted(unknown))}; resume with that version"
        )
    # JSON has lists for tuples and texts for paths.
    values |= {name: tuple(v) for name, v in values.items() if isinstance(kinds[name], tuple)}
    values["out"] = run
    values["images"] = tuple(map(Path, values.get("images", ())))
    return TrainConfig(**values)


def _written_config(run: Path) -> dict[str, Any]:
    """Return what config.json holds, under the names that options have now."""
    try:
        values: dict[str, Any] = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{run} holds no run to resume; leave out --resume") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{run / CONFIG} is no configuration: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{run / CONFIG} is no configuration: it holds no JSON object")
    return {RENAMED_OPTIONS.get(name, name): value for name, value in values.items()}
