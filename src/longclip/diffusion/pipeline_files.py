"""Files of a pipeline's repository: choice of those needed, list of those missing, download.

A repository often holds the same weights five times over (float32, float16, pickled, for ONNX, for
Flax). One set is chosen here rather than by diffusers, because what is announced before a download
has to be what is fetched.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longclip.checkpoints import hub
from longclip.checkpoints.config import read_json
from longclip.checkpoints.model_names import (
    check_model_name,
    full_name,
    is_hub_id,
    refuse_absent_path,
)
from longclip.errors import CheckpointError, MissingWeightsError, UsageError
from longclip.options import refuse_revision
from longclip.util.regular_files import read_regular

INDEX = "model_index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_SMALL = (".json", ".txt")
_WEIGHTS = re.compile(
    r"(?:model|diffusion_pytorch_model)(?P<half>\.fp16)?"
    r"(?:-\d+-of-(?P<shards>\d+))?\.safetensors"
)
_SHARD_INDEX = re.compile(r"\w+\.safetensors\.index(?P<half>\.fp16)?\.json")


@dataclass(frozen=True)
class Choice:
    """Files that a pipeline is loaded from.

    Attributes:
        files: paths in the repository.
        variant: "fp16" where files of that name are among them; diffusers looks for no others then.
        pickled: folders whose weights exist only as pickles.
        missing: folders without files or weights.
    """

    files: tuple[str, ...]
    variant: str | None
    pickled: tuple[str, ...]
    missing: tuple[str, ...]


def choose(files: Iterable[str], index: Mapping[str, Any], *, half: bool) -> Choice:
    """Choose the files to load a pipeline from, out of all files of its repository.

    Args:
        files: paths in the repository.
        index: its model_index.json.
        half: take float16 weights where there are some. Without, they are taken only for a
            component that has no others.
    """
    inside: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folder, _, name = file.rpartition("/")
        inside[folder].append(name)
    chosen, variant = [INDEX], None
    pickled: list[str] = []
    missing: list[str] = []
    # Names with "_" in front describe the pipeline itself; components switched off are null.
    folders = [
        name
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and value[0] is not None
    ]
    for folder in folders:
        names = inside[folder]
        weights = _weights(names, half=half)
        is_model = "config.json" in names
        if is_model and not weights:
            (pickled if any(name.endswith(_PICKLED) for name in names) else missing).append(folder)
        elif not names:
            missing.append(folder)
        if any(".fp16" in name for name in weights):
            variant = "fp16"
        small = [name for name in names if name.endswith(_SMALL) and ".index." not in name]
        chosen += [f"{folder}/{name}" for name in (*small, *weights)]
    return Choice(tuple(chosen), variant, tuple(pickled), tuple(missing))


def choose_local(directory: Path, *, half: bool) -> Choice:
    """Choose the files to load a pipeline from in its directory.

    Raises:
        UsageError: if it is not a pipeline's.
    """
    path = directory / INDEX
    try:
        index = json.loads(read_regular(path))
    except FileNotFoundError:
        raise UsageError(
            f"{directory} is not a diffusers pipeline: it has no {INDEX}; a single checkpoint file "
            "becomes one with from_single_file(…).save_pretrained(…) of its pipeline class"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(index, dict) or "_class_name" not in index:
        raise UsageError(f"{path} is not a pipeline's: it has no _class_name")
    files = [p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()]
    return choose(files, index, half=half)


def _weights(names: list[str], *, half: bool) -> list[str]:
    """Return one complete set of weights, with its index where it is in shards, or nothing."""
    weights = [match for name in names if (match := _WEIGHTS.fullmatch(name))]
    indices = [match for name in names if (match := _SHARD_INDEX.fullmatch(name))]
    for is_half in (half, not half):
        found = [match for match in weights if (match["half"] is not None) == is_half]
        shards = [match["shards"] for match in found]
        # One file, or as many as each shard's name says there are.
        if found and (None in shards or len(found) == int(shards[0])):
            of_set = [match for match in indices if (match["half"] is not None) == is_half]
            return [match[0] for match in (*found, *of_set)]
    return []


# Gigabytes in float32, computed from the numbers of weights; half of it in float16. By the last
# part of the name, since the same files lie under several owners.
_KNOWN_GIGABYTES = {
    "stable-diffusion-v1-4": 5.5,
    "stable-diffusion-v1-5": 5.5,
    "stable-diffusion-2-base": 5.2,
    "stable-diffusion-2": 5.2,
    "stable-diffusion-2-1-base": 5.2,
    "stable-diffusion-2-1": 5.2,
    "stable-diffusion-xl-base-1.0": 13.9,
}


@dataclass(frozen=True)
class Download:
    """Files of one repository that are not on this machine.

    Attributes:
        name: owner/model, or a folder of it.
        files: paths in the repository.
        size: bytes, or None where the hub does not say.
    """

    name: str
    files: tuple[str, ...]
    size: int | None

    def __str__(self) -> str:
        size = "size unknown" if self.size is None else readable_size(self.size)
        return f"{self.name}: {len(self.files)} file{'s' * (len(self.files) > 1)}, {size}"


def readable_size(size: float) -> str:
    """Write a number of bytes for people to read."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def require_here(
    *,
    pipelines: Sequence[str] = (),
    encoders: Sequence[str] = (),
    half: bool = False,
    revision: str | None = None,
    download: bool = False,
) -> None:
    """Make sure that everything can be loaded without a network.

    A model that is complete in the hub's cache is taken as it is; the hub is not asked.

    Args:
        pipelines: directories or hub ids of diffusers pipelines.
        encoders: models as `longclip.load` takes them.
        half: take float16 weights where a pipeline has them.
        revision: branch, tag or commit of the pipelines.
        download: fetch what is not here.

    Raises:
        MissingWeightsError: if something is missing and `download` is false; nothing was fetched
            then but a pipeline's index.
        LongCLIPError: if there is no such model, or its weights are pickled ones.
    """
    for name in pipelines:
        if Path(name).exists():
            refuse_revision(name, revision)
    needed = [d for name in pipelines if (d := _pipeline_download(name, half, revision))]
    needed += [d for name in encoders if (d := _encoder_download(name))]
    if not needed:
        return
    if not download:
        lines = "".join(f"\n  {item}" for item in needed)
        raise MissingWeightsError(
            f"these weights are not on this machine:{lines}\nadd --download to fetch them from the "
            "hub, into its cache, or name local directories"
        )
    for item in needed:
        owner, model, *_ = item.name.split("/")
        fetch_files(f"{owner}/{model}", item.files, revision if item.name in pipelines else None)


def pipeline_directory(name: str, revision: str | None = None) -> Path:
    """Return the directory of a pipeline on this machine, after `require_here`."""
    path = Path(name)
    cached = None if path.is_dir() else _cached(name, revision)
    return cached or path


def fetch_files(repository: str, files: Sequence[str], revision: str | None = None) -> None:
    """Fetch files of a repository into the hub's cache.

    Raises:
        UsageError: if they cannot be had.
    """
    from huggingface_hub import hf_hub_download

    with answers_or_missing(repository, revision):
        for file in files:
            hf_hub_download(repository, file, revision=revision)


@contextmanager
def answers_or_missing(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the hub's library raises into errors that say how large the missing files are.

    Raises:
        CheckpointError: where the hub knows no such model or revision, or asks for consent.
        MissingWeightsError: where it cannot be reached.
    """
    try:
        with hub.hub_answers(repository, revision):
            yield
    except hub.HubUnreachable as error:
        size = _KNOWN_GIGABYTES.get(repository.rpartition("/")[2].lower())
        about = (
            f"it is about {size:.1f} GB in float32 and {size / 2:.1f} GB in float16"
            if size
            else "its size is unknown"
        )
        raise MissingWeightsError(
            f"{repository} is not on this machine and the hub cannot be reached ({error}); "
            f"{about}. Try again with --download where there is a network, or fetch it elsewhere "
            f"(hf download {repository}) and name the directory; HF_ENDPOINT sets a mirror"
        ) from None


def _pipeline_download(name: str, half: bool, revision: str | None) -> Download | None:
    """Return the files of a pipeline that are not on this machine; None if it is complete."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    path = Path(name)
    if path.is_dir():
        _check(name, choose_local(path, half=half))
        return None
    if not is_hub_id(name) or name.count("/") != 1:
        raise CheckpointError(
            f"no pipeline {name!r}: it is neither a diffusers directory nor owner/model on the hub"
        )
    refuse_absent_path(name)
    cached = _cached(name, revision)
    if cached is not None:
        found = choose_local(cached, half=half)
        if not found.missing and not found.pickled:
            return None
    with answers_or_missing(name, revision):
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size for file in info.siblings or ()}
        if INDEX not in sizes:
            raise CheckpointError(f"{name} is not a diffusers pipeline: it has no {INDEX}")
        index = read_json(Path(hf_hub_download(name, INDEX, revision=revision)))
    found = choose(sizes, index, half=half)
    _check(name, found)
    # One that is in the cache is a path; one that is known not to exist is an object, not a path.
    lacking = [
        file
        for file in found.files
        if not isinstance(try_to_load_from_cache(name, file, revision=info.sha), str)
    ]
    return Download(name, tuple(lacking), _total(sizes[file] for file in lacking))


def _encoder_download(name: str) -> Download | None:
    """Return the files that `longclip.load` lacks of a model; None if it lacks none."""
    from huggingface_hub import HfApi, snapshot_download

    name = full_name(name)
    check_model_name(name)
    if Path(name).exists() or not is_hub_id(name):
        return None
    owner, model, *folders = name.split("/")
    repository = f"{owner}/{model}"
    inside = "".join(f"{folder}/" for folder in folders)
    try:
        directory = Path(snapshot_download(repository, local_files_only=True), *folders)
        if hub.files_to_fetch(name, [path.name for path in directory.iterdir() if path.is_file()]):
            return None
    except (OSError, CheckpointError):  # not there, or without weights
        pass
    with answers_or_missing(repository):
        info = HfApi().model_info(repository, files_metadata=True)
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    files = [
        inside + file for file in hub.files_to_fetch(name, hub.directly_in(inside, list(sizes)))
    ]
    return Download(name, tuple(files), _total(sizes[file] for file in files))


def _cached(name: str, revision: str | None) -> Path | None:
    """Return the snapshot of a pipeline in the hub's cache, be it complete or not."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(name, INDEX, revision=revision)
    return Path(index).parent if isinstance(index, str) else None


def _check(name: str, found: Choice) -> None:
    """Refuse a pipeline whose weights are pickled or missing."""
    if found.pickled:
        raise UsageError(
            f"{name} has the weights of {', '.join(found.pickled)} only as pickles, which are "
            "never loaded; save it again with save_pretrained, which writes safetensors, if you "
            "trust where it comes from"
        )
    if found.missing:
        raise UsageError(f"{name} is incomplete: no files or weights in {', '.join(found.missing)}")


def _total(sizes: Iterable[int | None]) -> int | None:
    """Return the sum of sizes; None where the hub does not know one."""
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)
