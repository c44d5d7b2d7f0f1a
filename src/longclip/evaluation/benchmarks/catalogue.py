"""All benchmarks, by name."""

from longclip.evaluation.benchmarks.benchmark import Benchmark
from longclip.evaluation.benchmarks.long_texts import LONG_TEXTS
from longclip.evaluation.benchmarks.short_texts import SHORT_TEXTS
from longclip.evaluation.benchmarks.zero_shot_sets import ZERO_SHOT_SETS

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (*LONG_TEXTS, *SHORT_TEXTS, *ZERO_SHOT_SETS)
}

SUITES: dict[str, tuple[str, ...]] = {
    # The tables of the Long-CLIP paper, but for Urban-200, which was never published.
    "paper": (
        "sharegpt4v-1k",
        "urban1k",
        "coco-5k",
        "flickr30k-all",
        "imagenet",
        "imagenet-o",
        "imagenet-v2",
        "cifar10",
        "cifar100",
    ),
    "long": ("sharegpt4v-1k", "urban1k", "docci", "dci", "long-dci", "iiw"),
    "short": ("coco-5k", "coco-karpathy", "flickr30k-1k", "flickr30k-all", "flickr8k"),
    "zero-shot": ("imagenet", "imagenet-v2", "imagenet-o", "cifar10", "cifar100"),
}
