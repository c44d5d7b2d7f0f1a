"""The directory of a run: its configuration, its metrics, and leave to begin or go on in it."""

import dataclasses
import errno
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longclip import __version__
from longclip.data.storage import is_url
from longclip.errors import Preempted, UsageError
from longclip.runs.run_files import (
    BEST,
    CHECKPOINTS,
    CONFIG,
    DATA,
    METRICS,
    MODEL,
    NEIGHBOURS,
    TOKENIZER,
    holds_run,
    last_checkpoint,
    read_metrics,
    read_run_config,
)
from longclip.runs.writer import WRITER, Outcome, RunWriter, busy, writer_state
from longclip.training.config import RENAMED_OPTIONS, TrainConfig, resumable_options
from longclip.training.run.log import delete_tracker_files
from longclip.util.files import atomic_path, remove_leftovers, write_text
from longclip.util.sealed_json import write_sealed

if TYPE_CHECKING:  # torch is slow to import, and a run to resume is read before
    from longclip.data.summary import DataSummary
    from longclip.training.distributed import World

CONTENT = "content"
"""Key of config.json under which are fingerprints, see `longclip.training.run.content`."""

CONTENT_OPTIONS = (
    *("model", "scratch", "data", "images"),
    *("image_column", "short_column", "long_column"),
)
"""Options that say where content is; what it is, its fingerprint says."""


class RunDirectory:
    """Files of one run, written by its first process.

    Args:
        path: the directory, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unwritten = ""  # lines of metrics that the disk had no room for

    def check_free(self, world: "World", *, resume: bool, overwrite: bool) -> None:
        """Check, before anything large is loaded, that a run may begin or go on here.

        Raises:
            UsageError: if another process writes here, or there is nothing to resume or overwrite.
            FileExistsError: if the directory holds a run that is neither to be resumed nor
                overwritten.
        """

        def check() -> None:
            state = writer_state(self.path)
            if state is not None and state.alive:
                raise UsageError(busy(self.path, state.writer))
            self.check_kind(resume=resume, overwrite=overwrite)

        _in_first(world, check)

    @contextmanager
    def writing(
        self,
        config: TrainConfig,
        content: Mapping[str, Any],
        world: "World",
        *,
        resume: bool,
        overwrite: bool,
    ) -> Iterator[None]:
        """Begin a run, or go on in it, as its one writer while the block runs.

        Of a new run that fails before it has logged a step nothing stays. One that is resumed
        keeps the options it was started with, but knows afterwards where its content is now.

        Raises:
            UsageError: as `check_free` and `check`.
            FileExistsError: as `check_free`.
        """
        writer = RunWriter(self.path)

        def begin() -> None:
            writer.take()
            try:
                self.check_kind(resume=resume, overwrite=overwrite)
                remove_leftovers(self.path)
                if resume:
                    started, damage = read_run_config(self.path)
                    asked = config_json(config)
                    now = started | {key: asked[key] for key in CONTENT_OPTIONS}
                    now |= {CONTENT: dict(content)}
                    if damage or now != started:
                        write_sealed(self.path / CONFIG, now)
                else:
                    if overwrite:
                        self.clear()
                    write_sealed(self.path / CONFIG, config_json(config) | {CONTENT: dict(content)})
                    (self.path / METRICS).write_text("")
                writer.announce()
            except BaseException:
                writer.give_up()
                raise

        _in_first(world, begin)
        outcome: Outcome = "failed"
        try:
            yield
        except BaseException as error:
            if world.first:
                if isinstance(error, Preempted | KeyboardInterrupt):
                    outcome = "stopped"
                if not resume and not self._has_results():
                    self.clear()
                    writer.give_up()
                else:
                    writer.release(outcome, str(error) or type(error).__name__)
            raise
        if world.first:
            writer.release("finished")

    def check_kind(self, *, resume: bool, overwrite: bool) -> None:
        """Check that there is a run exactly where one is wanted.

        Raises:
            UsageError, FileExistsError: as `check_free`.
        """
        found = [name for name in (CONFIG, METRICS) if (self.path / name).exists()]
        if last_checkpoint(self.path) is not None:
            found.append(CHECKPOINTS)
        if resume:
            if not found:
                raise UsageError(f"{self.path} holds no run to resume; leave out --resume")
        elif found and not holds_run(self.path):
            raise FileExistsError(
                f"{self.path} holds a {found[0]} that is not a run's; take another --out"
            )
        elif found and not overwrite:
            raise FileExistsError(
                f"{self.path} already holds a run; continue it with --resume, delete it with "
                "--overwrite, or take another --out"
            )
        elif overwrite and not found and self.path.exists():
            others = [path.name for path in self.path.iterdir() if path.name not in (MODEL, WRITER)]
            if others:
                raise FileExistsError(
                    f"{self.path} holds no run but {others[0]}; --overwrite deletes runs alone: "
                    "leave it out, or take another --out"
                )

    def _has_results(self) -> bool:
        """Return whether there is something to go on from, or to look at."""
        if last_checkpoint(self.path) is not None:
            return True
        return bool(read_metrics(self.path / METRICS).lines)

    def started(self, config: TrainConfig, world: "World") -> dict[str, Any]:
        """Return what config.json holds, fingerprints among it, in all processes.

        Raises:
            ValueError: as `check`.
        """

        def read() -> None:
            self.check(config)
            found.update(read_run_config(self.path)[0])

        found: dict[str, Any] = {}
        _in_first(world, read)
        started: dict[str, Any] = world.gather_objects(found)[0]
        return started

    def check(self, config: TrainConfig) -> None:
        """Check that the run here may go on with this configuration.

        Raises:
            ValueError: if there is none, or it was started with another configuration.
        """
        # An option that an earlier version did not know had what is now its default.
        started = config_json(TrainConfig()) | _written_config(self.path)
        asked = config_json(config)
        free = {"longclip", *resumable_options(), *CONTENT_OPTIONS}
        default = config_json(TrainConfig())
        changed = [
            f"--{key.replace('_', '-')} was {_as_typed(started.get(key))}"
            f"{' (the default)' if started.get(key) == default[key] else ''}, "
            f"now {_as_typed(asked[key])}"
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
        for name in (METRICS, DATA, CONFIG):  # that which makes it a run goes last
            (self.path / name).unlink(missing_ok=True)
        for folder in (CHECKPOINTS, BEST, NEIGHBOURS, TOKENIZER):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        delete_tracker_files(self.path)

    def keep_tokenizer(self, contents: Mapping[str, bytes]) -> None:
        """Write the files of a model's own tokenizer: the run needs them when the model is gone."""
        for name, content in contents.items():
            with atomic_path(self.path / TOKENIZER / name) as path:
                path.write_bytes(content)

    def describe_data(self, summaries: "Sequence[DataSummary]") -> None:
        """Write what each source of the data was taken for."""
        found = [summary.to_json() for summary in summaries]
        write_text(self.path / DATA, json.dumps(found, ensure_ascii=False, indent=2) + "\n")

    def log(self, values: dict[str, Any]) -> None:
        """Append one line of metrics.

        Where the disk is full, it is written with the next one: a run is worth more than a line.
        """
        is_first = not self._unwritten
        self._unwritten += json.dumps(values) + "\n"
        path = self.path / METRICS
        try:
            with path.open("ab", buffering=0) as file:
                size = file.tell()
                if file.write(content := self._unwritten.encode()) < len(content):
                    file.truncate(size)  # of half a line nothing could be made
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if is_first:
                warnings.warn(
                    f"{path} could not be written ({error.strerror}); make room: its lines are "
                    "kept until there is some, and the run goes on",
                    stacklevel=2,
                )
        else:
            self._unwritten = ""

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after the checkpoint of this step; later steps are done again."""
        path, kept, lost = self.path / METRICS, [], 0
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        for number, line in enumerate(lines):
            try:
                if float(json.loads(line)["step"]) <= step:
                    kept.append(line.decode())
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                # Nothing follows the last line; or the process was killed while it wrote it.
                lost += number < len(lines) - 1
        if lost:
            warnings.warn(f"{path}: {lost} damaged lines were dropped", stacklevel=2)
        write_text(path, "".join(f"{line}\n" for line in kept))


def _in_first(world: "World", action: Callable[[], None]) -> None:
    """Do something in the first process, and raise its error in all of them."""
    error: Exception | None = None
    if world.first:
        try:
            action()
        except (ValueError, OSError) as caught:
            error = caught
    # Raised in the first alone it would leave the others waiting in their next collective.
    for found in world.gather_objects(error):
        if found is not None:
            raise found


def config_json(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as it goes into config.json."""
    values = dataclasses.asdict(config)
    # A run may be resumed from another working directory.
    anchored = {key: found_from_anywhere(values[key]) for key in ("model", "scratch")}
    lists = {
        key: [found_from_anywhere(str(each)) for each in values[key]]
        for key in ("data", "images", "evaluate")
    }
    return {
        "longclip": __version__,
        **{key: str(v) if isinstance(v, Path) else v for key, v in values.items()},
        **anchored,
        **lists,
    }


def _as_typed(value: object) -> str:
    """Return a value of config.json as it is written on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.15g}" if isinstance(value, float) else str(value) or "none"


def found_from_anywhere(name: str) -> str:
    """Return the absolute path of what is there, or matches a pattern; other names as they are."""
    if not name or name in ("nano", "scenes") or is_url(name):
        return name
    before_pattern = re.split(r"[*?\[{]", name, maxsplit=1)[0]
    there = Path(name) if before_pattern == name else Path(f"{before_pattern}_").parent
    return str(Path(name).absolute()) if there.exists() else name


def read_config(run: Path) -> TrainConfig:
    """Return the configuration that a run was started with.

    Raises:
        ValueError: if there is no run, or another version wrote it whose options are not known.
    """
    values = _written_config(run)
    version = values.pop("longclip", "another version")
    values.pop(CONTENT, None)
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
    """Return what config.json holds, or its copy, under the names that options have now."""
    values, damage = read_run_config(run)
    if damage:
        warnings.warn(damage, stacklevel=3)
    return {RENAMED_OPTIONS.get(name, name): value for name, value in values.items()}
