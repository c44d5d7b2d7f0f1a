"""Names of models: those that come with the package, short ones, and those on the hub.

No torch here: a mistyped name is told before it is loaded.
"""

import re
from pathlib import Path
from typing import TypeVar

from longclip.checkpoints.catalogue import find_known_model, known_models, nearest_models
from longclip.errors import CheckpointError

BUNDLED = ("nano",)
"""Names of the models that come inside the package."""

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
"""Ends of the names of files that hold weights."""

# No other folder than a pipeline's encoders: `runs/paper/model` is a path, be it mistyped.
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(/(text_encoder|image_encoder)(_\d)?)?")

_Source = TypeVar("_Source", str, Path, str | Path)


def is_hub_id(name: str) -> bool:
    """Return whether `name` looks like owner/model, or owner/model/text_encoder and the like."""
    return _ID.fullmatch(name) is not None


def is_here(source: str | Path) -> bool:
    """Return whether a name is that of a bundled model, or of a path that is there."""
    path = Path(source)
    # Of a file, a part may be named: `sdxl.safetensors/text_encoder_2`.
    return source in BUNDLED or path.exists() or path.parent.is_file()


def full_name(source: _Source) -> _Source:
    """Return the name on the hub that a short name stands for; any other name as it is.

    What is called so on this machine goes before. Capitals make no difference.
    """
    if isinstance(source, str) and not is_here(source):
        for model in known_models():
            if source.lower() == model.name.lower():
                return model.hub
    return source


def check_model_name(source: str | Path) -> None:
    """Check that a name can be one of a model.

    Raises:
        CheckpointError: if it is neither bundled, nor a path that is there, nor a short name, nor
            may be on the hub; names the nearest.
    """
    if is_here(source):
        return
    if not isinstance(source, str):
        raise CheckpointError(f"there is no file or directory {source}")
    name = full_name(source)
    if not is_hub_id(name):
        raise CheckpointError(
            f"no model {source!r}: it is neither a directory, nor a file, nor owner/model "
            f"on the hub, nor a short name, nor a bundled model ({', '.join(BUNDLED)})"
            f"{nearest_models(source)}"
        )
    refuse_absent_path(name)


def refuse_absent_path(name: str) -> None:
    """Refuse a path that is not there and looks like owner/model: the hub would be asked for long.

    Known models and those that have been fetched before are none.

    Raises:
        CheckpointError: says what to do if it is a model on the hub all the same.
    """
    folder = Path(name).parts[0]
    looks_local = name.endswith(CHECKPOINT_SUFFIXES) or Path(folder).is_dir()
    if looks_local and not find_known_model(name) and not _is_cached(name):
        repository = "/".join(name.split("/")[:2])
        why = "its folder is here" if Path(folder).is_dir() else "it is called like a file"
        raise CheckpointError(
            f"there is no file or directory {name}; {why}, so it is not looked for on the hub. If "
            f"it is a model there, fetch it first: hf download {repository}"
        )


def cached_snapshot(name: str) -> Path | None:
    """Return the directory of a model's main branch in the hub's cache; None where it is not there.

    The hub is not asked whether there is a newer one.

    Args:
        name: owner/model, or with the folder of a part of a pipeline behind it.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    owner, model, *folders = name.split("/")
    repository = Path(HF_HUB_CACHE, f"models--{owner}--{model}")
    try:
        commit = (repository / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    directory = repository.joinpath("snapshots", commit, *folders)
    return directory if directory.is_dir() else None


def _is_cached(name: str) -> bool:
    """Return whether something of a model on the hub has been fetched before."""
    from huggingface_hub.constants import HF_HUB_CACHE

    owner, model, *_ = name.split("/")
    return Path(HF_HUB_CACHE, f"models--{owner}--{model}").is_dir()
