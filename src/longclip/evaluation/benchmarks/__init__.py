"""Benchmarks by name: pinned protocols, where their data are, and the published numbers."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.evaluation.benchmarks.benchmark import Benchmark, OpenedBenchmark
    from longclip.evaluation.benchmarks.catalogue import BENCHMARKS, SUITES
    from longclip.evaluation.benchmarks.fingerprints import fingerprint
    from longclip.evaluation.benchmarks.opening import locate, open_benchmark
    from longclip.evaluation.benchmarks.published import PUBLISHED, PublishedNumbers

_EXPORTS = {
    "BENCHMARKS": "catalogue",
    "Benchmark": "benchmark",
    "OpenedBenchmark": "benchmark",
    "PUBLISHED": "published",
    "PublishedNumbers": "published",
    "SUITES": "catalogue",
    "fingerprint": "fingerprints",
    "locate": "opening",
    "open_benchmark": "opening",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "BENCHMARKS",
    "PUBLISHED",
    "SUITES",
    "Benchmark",
    "OpenedBenchmark",
    "PublishedNumbers",
    "fingerprint",
    "locate",
    "open_benchmark",
]
