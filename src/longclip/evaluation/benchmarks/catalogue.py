"""Catalogue of all benchmarks by name: finding, downloading and opening their data."""

import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from longclip.data.collection import Collection
from longclip.errors import DataError, UsageError
from longclip.evaluation.benchmarks.benchmark import Benchmark, OpenedBenchmark
from longclip.evaluation.benchmarks.choice_sets import CHOICE_SETS
from longclip.evaluation.benchmarks.retrieval_sets import LONG_TEXTS, SHORT_TEXTS
from longclip.evaluation.benchmarks.zero_shot_sets import ZERO_SHOT_SETS
from longclip.util.plugins import BENCHMARKS as GROUP
from longclip.util.plugins import load_plugin, plugins


def _offered() -> Iterator[Benchmark]:
    """Yield the benchmarks of installed packages; one that is none is left out with a warning."""
    for name, plugin in plugins(GROUP).items():
        try:
            found = load_plugin(plugin)
        except UsageError as error:
            warnings.warn(f"the benchmark {error}; it is left out", stacklevel=2)
            continue
        if isinstance(found, Benchmark):
            yield replace(found, name=name)
        else:
            warnings.warn(
                f"the benchmark {name} of {plugin.value} is {type(found).__name__} and no "
                "longclip.evaluation.benchmarks.Benchmark; it is left out",
                stacklevel=2,
            )


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    # Ours last: no package may change what a published name means.
    for benchmark in (*_offered(), *LONG_TEXTS, *SHORT_TEXTS, *ZERO_SHOT_SETS, *CHOICE_SETS)
}
"""Benchmarks by name, those of installed packages too."""

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
    "choice": (
        "sugarcrepe",
        "sugarcrepe++",
        "aro-relation",
        "aro-attribution",
        "aro-coco-order",
        "aro-flickr-order",
        "winoground",
    ),
}


def open_benchmark(
    name: str | Benchmark,
    root: Path | None = None,
    at: Path | None = None,
    *,
    allow_partial: bool = False,
    download: bool = False,
) -> OpenedBenchmark:
    """Open the images of a benchmark with its texts, labels or questions, checked by its counts.

    Args:
        name: one of BENCHMARKS, or a benchmark of one's own.
        root: the folder of all data sets, one folder each (see `Benchmark.folders`).
        at: the folder or Parquet file of this one, wherever it is.
        allow_partial: take what there is, and say so in the result, where files are missing or
            the counts differ.
        download: fetch it from the Hugging Face hub into `root` where it is not there yet.

    Raises:
        DataError: if there is no such benchmark, its data cannot be found or read, or are not
            complete. The message says what was expected and found, and what to do.
    """
    benchmark = name if isinstance(name, Benchmark) else find_benchmark(name)
    path = at if at is not None else _find_or_download(benchmark, root, download)
    if not path.exists():
        raise DataError(
            f"{benchmark.name}: there is no {path}; check the path. {_advice(benchmark)}"
        )
    try:
        collection = benchmark.open(path, benchmark.name)
    except DataError as error:
        raise DataError(f"{benchmark.name}: {error}. {_advice(benchmark)}") from error
    problems = (*_miscounted(benchmark, collection), *collection.problems)
    if not len(collection) or (problems and not allow_partial):
        remedy = "" if not len(collection) else "; or allow a partial copy, marked in the result"
        raise DataError(
            f"{benchmark.name} at {path} is not the published data: {'; '.join(problems)}. "
            f"Copy or download it again{remedy}. {_advice(benchmark)}"
        )
    return OpenedBenchmark(benchmark, collection, bool(problems), problems, path)


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name; DataError with the nearest names where there is none."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = get_close_matches(name, BENCHMARKS, n=3) or sorted(BENCHMARKS)
    raise DataError(
        f"no benchmark {name!r}; did you mean {', '.join(near)}? `longclip benchmarks` lists all"
    )


def locate(benchmark: Benchmark, root: Path) -> Path:
    """Find a benchmark below `root`; DataError with how to get it where it is not there."""
    for folder in benchmark.folders:
        for path in (root / folder, root / f"{folder}.parquet"):
            if path.exists():
                return path
    if benchmark.marker and (root / benchmark.marker).exists():
        return root
    looked = ", ".join(benchmark.folders)
    raise DataError(
        f"{benchmark.name} is not in {root} (looked for {looked}). {_advice(benchmark, root)}"
    )


def _find_or_download(benchmark: Benchmark, root: Path | None, download: bool) -> Path:
    if root is None:
        raise DataError(
            f"{benchmark.name}: no folder of data sets was named, nor where this one is. "
            f"{_advice(benchmark)}"
        )
    try:
        return locate(benchmark, root)
    except DataError:
        if not download:
            raise
    return _download(benchmark, root)


def _advice(benchmark: Benchmark, root: Path | None = None) -> str:
    folder = (root or Path("ROOT")) / benchmark.folders[0]
    hub = " Or fetch it from the hub with --download." if benchmark.hub else ""
    return (
        f"Get it: {benchmark.get} (size: {benchmark.size}; licence: {benchmark.licence}) "
        f"Put it into {folder}: {benchmark.layout}.{hub}"
    )


_NEARLY_ALL = 0.95
"""Share of a round number of questions that must be there."""


def _miscounted(benchmark: Benchmark, collection: Collection) -> list[str]:
    texts = (collection.captions(i) for i in range(len(collection)))
    label_sets = collection.label_sets()
    found = {
        "images": len(collection) if benchmark.images else 0,
        "texts": sum(len(own.short) + len(own.long) for own in texts),
        "classes": len(label_sets[0].classes) if label_sets else 0,
        "questions": sum(len(own.choices) for own in collection.choice_sets()),
    }
    expected = {kind: getattr(benchmark, kind) for kind in found}
    enough = found["questions"] >= _NEARLY_ALL * benchmark.questions
    if found == expected or (not benchmark.exact and enough):
        return []
    about = "" if benchmark.exact else "about "
    counts = [
        f"{found[kind]:,} of {about}{number:,} {kind}"
        for kind, number in expected.items()
        if number
    ]
    return [f"found {', '.join(counts)}"]


def _download(benchmark: Benchmark, root: Path) -> Path:
    """Download and unpack into `root`; the folder appears only when all of it is there.

    What an interrupted download left is continued.

    Raises:
        DataError: where the hub does not have it in a form that is read here, cannot be reached
            or wants an agreement first.
    """
    if not benchmark.hub:
        raise DataError(
            f"{benchmark.name} cannot be downloaded for you. Get it: {benchmark.get} "
            f"(licence: {benchmark.licence})"
        )
    from huggingface_hub import snapshot_download

    target = root / benchmark.folders[0]
    work = root / f".{benchmark.folders[0]}.download"
    work.mkdir(parents=True, exist_ok=True)
    try:
        snapshot_download(
            benchmark.hub,
            repo_type="dataset",
            local_dir=work,
            allow_patterns=list(benchmark.hub_files) or None,
        )
    except Exception as error:
        # The hub's client raises its own errors, its HTTP library's and OSError.
        raise DataError(
            f"{benchmark.name}: https://huggingface.co/datasets/{benchmark.hub} could not be "
            f"downloaded ({error}). Try again, or get it by hand: {benchmark.get}"
        ) from error
    for archive in sorted(path for path in work.iterdir() if path.is_file()):
        # Unpacked beside itself, and nothing outside of that folder.
        try:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(archive) as content:
                    content.extractall(work)
            elif archive.name.endswith((".tar", ".tar.gz", ".tgz")):
                with tarfile.open(archive) as tar:
                    tar.extractall(work, filter="data")
            else:
                continue
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            archive.unlink()
            raise DataError(f"{archive} is damaged ({error}); download it again") from error
        archive.unlink()
    work.rename(target)
    return target
