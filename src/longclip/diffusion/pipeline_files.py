"""Which files of a pipeline's repository are needed: one set of weights, and what is small.

A repository often holds the same weights five times over (float32, float16, pickled, for ONNX, for
Flax). Chosen here rather than by diffusers, because what is announced has to be what is fetched.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longclip.errors import UsageError

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
    """What a pipeline is loaded from.

    Attributes:
        files: paths in the repository.
        variant: "fp16" where files of that name are among them, as diffusers wants to be told.
        pickled: folders whose weights there are only as pickles.
        missing: folders without files or weights.
    """

    files: tuple[str, ...]
    variant: str | None
    pickled: tuple[str, ...]
    missing: tuple[str, ...]


def choose(files: Iterable[str], index: Mapping[str, Any], *, half: bool) -> Choice:
    """The files to load a pipeline from, out of all files of its repository.

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
    for folder in components(index):
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
    """The same for a directory.

    Raises:
        ValueError: if it is not a pipeline's.
    """
    path = directory / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{directory} is not a diffusers pipeline: it has no {INDEX}; a single checkpoint file "
            "becomes one with from_single_file(…).save_pretrained(…) of its pipeline class"
        ) from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    files = [p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()]
    return choose(files, index, half=half)


def components(index: Mapping[str, Any]) -> list[str]:
    """The folders that a pipeline is made of."""
    return [
        name
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and value[0] is not None
    ]


def _weights(names: list[str], *, half: bool) -> list[str]:
    """One complete set of weights, with its index where it is in shards; empty if there is none."""
    sets: dict[bool, list[str]] = {True: [], False: []}
    for name in names:
        match = _WEIGHTS.fullmatch(name)
        if match:
            sets[match["half"] is not None].append(name)
    for is_half in (half, not half):
        found = sets[is_half]
        if found and _all_shards(found):
            indices = [match for name in names if (match := _SHARD_INDEX.fullmatch(name))]
            of_set = [match[0] for match in indices if (match["half"] is not None) == is_half]
            return [*found, *of_set]
    return []


def _all_shards(names: list[str]) -> bool:
    counts = [match["shards"] for name in names if (match := _WEIGHTS.fullmatch(name))]
    return None in counts or len(names) == int(counts[0] or 0)
