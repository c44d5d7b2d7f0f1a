"""From what a user names as data to what is measured on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longclip.data import Collection, Columns, open_for_evaluation
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
    root: Path,
    columns: Columns | None = None,
    allow_partial: bool = False,
    download: bool = False,
) -> list[Request]:
    """Open data by name.

    Args:
        data: each a benchmark, looked for below `root`; BENCHMARK=PATH, where it lies elsewhere;
            a suite, for all of its benchmarks; or anything `longclip.data.open_collection` opens.
            A folder that is called like a benchmark is reached as `./NAME`.
        root: where benchmarks lie.
        columns: which columns mean what; for tables.
        allow_partial: take a benchmark that is not complete, marked as such.
        download: fetch a benchmark that is not there, where the hub has it.

    Raises:
        longclip.data.DataError: if something is missing, incomplete or cannot be read.
    """
    found: list[Request] = []
    for name in data:
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
                found += [Request(c) for c in open_for_evaluation(name, columns=columns)]
    return found
