"""From what a user names as data to what is measured on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from longclip.data import Collection, Columns, open_for_evaluation
from longclip.errors import DataError
from longclip.evaluation.benchmarks import BENCHMARKS, SUITES, OpenedBenchmark, open_benchmark
from longclip.evaluation.measure import Task

EVERYTHING: tuple[Task, ...] = ("long", "short", "zero-shot")


@dataclass(frozen=True, eq=False)
class Request:
    """A collection and what to measure on it; `opened` where it is a benchmark with a protocol."""

    collection: Collection
    tasks: tuple[Task, ...] = EVERYTHING
    opened: OpenedBenchmark | None = None

    @property
    def name(self) -> str:
        """The benchmark's, or the collection's."""
        return self.opened.benchmark.name if self.opened else self.collection.name


def open_requests(
    data: Sequence[str],
    *,
    suite: str | None = None,
    root: Path,
    columns: Columns | None = None,
    allow_partial: bool = False,
    download: bool = False,
) -> list[Request]:
    """Open data by name.

    Args:
        data: each a benchmark, looked for below `root`; BENCHMARK=PATH, where it lies elsewhere;
            or anything `longclip.data.open_collection` opens. A folder that is called like a
            benchmark is reached as `./NAME`.
        suite: all benchmarks of a suite, in place of `data`.
        root: where benchmarks lie.
        columns: which columns mean what; for tables.
        allow_partial: take a benchmark that is not complete, marked as such.
        download: fetch a benchmark that is not there, where the hub has it.

    Raises:
        longclip.data.DataError: if something is missing, incomplete or cannot be read.
    """
    found: list[Request] = []
    if suite is not None and suite not in SUITES:
        raise DataError(f"no suite {suite!r}, only {', '.join(SUITES)}")
    for name in [suite] if suite else data:
        for benchmark in SUITES.get(name, (name,)):
            known, _, path = benchmark.partition("=")
            if known in BENCHMARKS:
                opened = open_benchmark(
                    known,
                    root,
                    at=Path(path) if path else None,
                    allow_partial=allow_partial,
                    download=download,
                )
                found.append(Request(opened.collection, (opened.benchmark.task,), opened))
            else:
                found += [Request(c) for c in _open(name, columns)]
    return found


def _open(name: str, columns: Columns | None) -> list[Collection]:
    try:
        found = open_for_evaluation(name, columns=columns)
    except DataError as error:
        near = get_close_matches(name, [*BENCHMARKS, *SUITES], n=2)
        if not near or Path(name).exists():
            raise
        raise DataError(f"{error}; did you mean the benchmark {' or '.join(near)}?") from error
    for collection in found:
        _check_measurable(collection)
    return found


def _check_measurable(collection: Collection) -> None:
    texts = (collection.captions(index) for index in range(len(collection)))
    if not any(own.long or own.short for own in texts) and not collection.label_sets():
        raise DataError(
            f"{collection.name} has nothing to measure: no text and no label was found; name the "
            "columns that hold them (--long-column, --short-column, --label-column)"
        )
