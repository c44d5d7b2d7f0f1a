"""Benchmarks by name: pinned protocols, opening of their data, and the published numbers."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.evaluation.benchmarks.benchmark import Benchmark as Benchmark
    from longclip.evaluation.benchmarks.benchmark import OpenedBenchmark as OpenedBenchmark
    from longclip.evaluation.benchmarks.benchmark import data_digest as data_digest
    from longclip.evaluation.benchmarks.catalogue import BENCHMARKS as BENCHMARKS
    from longclip.evaluation.benchmarks.catalogue import SUITES as SUITES
    from longclip.evaluation.benchmarks.catalogue import locate as locate
    from longclip.evaluation.benchmarks.catalogue import open_benchmark as open_benchmark
    from longclip.evaluation.benchmarks.published import PUBLISHED as PUBLISHED
    from longclip.evaluation.benchmarks.published import PublishedNumbers as PublishedNumbers

export_lazily(__name__)
