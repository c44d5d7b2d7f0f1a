"""Evaluation session: several models on several collections, one after the other."""

import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from longclip.data import Collection, Columns, open_for_evaluation
from longclip.data.collection import refuse_absent
from longclip.data.summary import DataSummary, summarise
from longclip.encoders.encoder import Encoder
from longclip.errors import DataError, UsageError
from longclip.evaluation.benchmarks import (
    BENCHMARKS,
    SUITES,
    OpenedBenchmark,
    data_digest,
    open_benchmark,
)
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.config import EvaluateConfig
from longclip.evaluation.disagreements import Disagreements, find_disagreements
from longclip.evaluation.measure import evaluate
from longclip.evaluation.results import EvaluationResult
from longclip.spec import Task
from longclip.util.terminal import SILENT, OnProgress

# A name before the first "=", which is neither a path nor a prefix such as open_clip:.
_NAMED = re.compile(r"([^=/:\\]+)=(.+)")


@dataclass(frozen=True, eq=False)
class Request:
    """A collection and the tasks to measure on it; `opened` where it is a benchmark."""

    collection: Collection
    tasks: tuple[Task, ...] = EvaluateConfig.tasks
    opened: OpenedBenchmark | None = None

    @property
    def name(self) -> str:
        """Return the benchmark's name, or else the collection's."""
        return self.opened.benchmark.name if self.opened else self.collection.name

    @cached_property
    def summaries(self) -> list[DataSummary]:
        """What the data was taken for: one of them, or one for each part of a mixture."""
        return summarise(
            self.collection, labels="zero-shot" in self.tasks, questions="choice" in self.tasks
        )

    def describe(self, result: EvaluationResult, digest: str) -> EvaluationResult:
        """Add to a result the name and protocol of its data, what they are, and their digest."""
        return dataclasses.replace(
            result,
            collection=self.name,
            protocol=self.opened.benchmark.protocol if self.opened else "",
            partial=self.opened is not None and self.opened.partial,
            fingerprint=digest,
            data=[summary.to_json() for summary in self.summaries],
        )


def open_requests(
    data: Sequence[str],
    *,
    suite: str | None = None,
    root: Path,
    columns: Columns | None = None,
    images: Sequence[str | Path] = (),
    max_bad_fraction: float = EvaluateConfig.max_bad_fraction,
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
        images: folders that paths of pictures start from; not for benchmarks.
        max_bad_fraction: the largest share of pictures that may not be there.
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
                found += [Request(c) for c in _open_measurable(name, columns, images)]
    for request in found:
        refuse_absent(request.collection, max_bad_fraction)
    return found


def _open_measurable(
    name: str, columns: Columns | None, images: Sequence[str | Path]
) -> list[Collection]:
    try:
        found = open_for_evaluation(name, columns=columns, images=images)
    except DataError as error:
        near = get_close_matches(name, [*BENCHMARKS, *SUITES], n=2)
        if not near or Path(name).exists():
            raise
        raise DataError(f"{error}; did you mean the benchmark {' or '.join(near)}?") from error
    for collection in found:
        texts = (collection.captions(index) for index in range(len(collection)))
        if not (
            any(own.long or own.short for own in texts)
            or collection.label_sets()
            or collection.choice_sets()
        ):
            raise DataError(
                f"{collection.name} has nothing to measure: no text and no label was found; name "
                "the columns that hold them (--long-column, --short-column, --label-column)"
            )
    return found


@dataclass(frozen=True)
class Session:
    """Results, model by model, and a gallery of where the models disagree.

    The gallery is on the collection with most long texts, or on the first one where none has any.
    """

    results: tuple[EvaluationResult, ...]
    gallery: Disagreements | None


def named(model: str) -> tuple[str, str]:
    """Divide `NAME=SOURCE` into name and source; a source alone is its own name."""
    found = _NAMED.fullmatch(model)
    return (found[1], found[2]) if found else (model, model)


def _digest(request: Request) -> str:
    """Return the digest of some data; warn of images that are there more than once."""
    contents: Counter[str] = Counter()
    digest = data_digest(request.collection, contents)
    copies = contents.total() - len(contents)
    # A benchmark counts them as its protocol does.
    if copies and request.opened is None and set(request.tasks) & {"long", "short"}:
        warnings.warn(
            f"{request.name}: {copies:,} of {contents.total():,} images are copies of others under "
            "another name, and count as other images: a text that finds the copy of its image has "
            "not found it. Leave the copies out, or give their rows one path",
            stacklevel=3,
        )
    return digest


def run_session(
    models: Sequence[str],
    requests: Sequence[Request],
    open_model: Callable[[str], Encoder],
    config: EvaluateConfig,
    *,
    gallery: bool = False,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> Session:
    """Measure every model on every collection.

    Args:
        models: each a source for `open_model`, or NAME=SOURCE.
        requests: what to measure on.
        open_model: gives the encoder of a source.
        config: what to measure; each request has tasks of its own.
        gallery: also look where the models disagree, for which all are held in memory.
        cache: where embeddings are looked for and kept.
        on_progress: called with the progress of each stage, and the model's name.

    Raises:
        ValueError: if two models have the same name, and whatever `open_model` and `evaluate` do.
    """
    sources = dict(map(named, models))
    if len(sources) < len(models):
        raise UsageError(
            f"two of the models {', '.join(models)} have the same name; tell them apart: NAME=MODEL"
        )
    digests = [_digest(request) for request in requests]
    several = len(sources) > 1
    encoders: dict[str, Encoder] = {}
    results: list[EvaluationResult] = []
    for name, source in sources.items():
        encoder = open_model(source)

        def report(stage: str, done: int, total: int, note: str = "", model: str = name) -> None:
            on_progress(f"{model}, {stage}" if several else stage, done, total, note)

        for request, digest in zip(requests, digests, strict=True):
            result = evaluate(
                encoder,
                request.collection,
                name=name,
                config=dataclasses.replace(config, tasks=request.tasks),
                cache=cache,
                on_progress=report,
            )
            results.append(request.describe(result, digest))
        if gallery and several:
            encoders[name] = encoder
    found = None
    if gallery and several:
        chosen = max(results, key=lambda r: r.long.recall.texts if r.long else 0).collection
        request = next(request for request in requests if request.name == chosen)
        own = {result.name: result for result in results if result.collection == chosen}
        found = find_disagreements(encoders, request.collection, own)
    return Session(tuple(results), found)
