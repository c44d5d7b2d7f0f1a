"""Fetching a benchmark from the Hugging Face hub."""

import tarfile
import zipfile
from pathlib import Path

from longclip.errors import DataError
from longclip.evaluation.benchmarks.benchmark import Benchmark


def download_benchmark(benchmark: Benchmark, root: Path) -> Path:
    """Download and unpack into `root`; the folder appears only when all of it is there.

    What an interrupted download left is continued. Raises DataError where the hub does not have
    it in a form that is read here, cannot be reached or wants an agreement first.
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
        _unpack(archive)
    work.rename(target)
    return target


def _unpack(archive: Path) -> None:
    """Beside itself, nothing outside of that folder; then the archive goes."""
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as content:
                content.extractall(archive.parent)
        elif archive.name.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(archive) as tar:
                tar.extractall(archive.parent, filter="data")
        else:
            return
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        archive.unlink()
        raise DataError(f"{archive} is damaged ({error}); download it again") from error
    archive.unlink()
