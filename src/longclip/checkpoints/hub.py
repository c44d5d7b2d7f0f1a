"""Models by the name they have on the Hugging Face hub, fetched once and kept in its cache."""

import re
from collections.abc import Sequence
from pathlib import Path

from longclip.checkpoints import huggingface as hf
from longclip.checkpoints import openclip
from longclip.checkpoints.errors import CheckpointError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_SMALL = (hf.CONFIG, hf.PREPROCESSOR, openclip.CONFIG, "README.md")
_FILES = (".pt", ".pth", ".bin", ".safetensors")


def is_hub_id(name: str) -> bool:
    """Whether `name` looks like owner/model."""
    return _ID.fullmatch(name) is not None


def fetch(name: str, revision: str | None = None) -> Path:
    """The directory in the hub's cache that holds a model; downloads what is not there yet.

    Only one set of weights is fetched where a repository has several: safetensors before pickles,
    Hugging Face's layout before OpenCLIP's, a lone checkpoint file (as Long-CLIP's) last.

    Args:
        name: owner/model.
        revision: a branch, tag or commit; the main branch where None.

    Raises:
        CheckpointError: if there is no such model, none of its files is a checkpoint, or it is
            neither in the cache nor to be had from the hub.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(name, revision=revision)
        files = [file.rfilename for file in info.siblings or ()]
        paths = [hf_hub_download(name, file, revision=revision) for file in _chosen(name, files)]
        return Path(paths[0]).parent
    except GatedRepoError:
        raise CheckpointError(
            f"{name} asks for consent: accept its terms on the hub, then log in (hf auth login)"
        ) from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{name} has no revision {revision!r}") from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"there is no model {name} on the hub (or it is private: hf auth login)"
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError) as error:
        return _cached(name, revision, error)
    except Exception as error:
        if not _is_network_error(error):
            raise
        return _cached(name, revision, error)


def _cached(name: str, revision: str | None, error: Exception) -> Path:
    """What an earlier call left, without a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{name} is not in the cache and the hub cannot be reached ({reason}); name a local "
            "directory or file, set HF_ENDPOINT to a mirror, or try the bundled `nano`"
        ) from None


def _is_network_error(error: Exception) -> bool:
    """Whether no answer came; which HTTP client says so depends on the hub library's version."""
    return isinstance(error, OSError) or type(error).__module__.startswith("httpx")


def _chosen(name: str, files: Sequence[str]) -> list[str]:
    """The files of one set of weights, and the small ones beside it."""
    here = [file for file in files if "/" not in file]
    small = [file for file in here if file in _SMALL]
    for weights in (hf.WEIGHTS, hf.INDEX, hf.PICKLED, openclip.WEIGHTS, openclip.PICKLED):
        if weights in here:
            # The other layout's configuration would claim the directory.
            foreign = hf.CONFIG if weights.startswith("open_clip") else openclip.CONFIG
            shards = [file for file in here if weights == hf.INDEX and _SHARD.fullmatch(file)]
            return [*(file for file in small if file != foreign), weights, *shards]
    checkpoints = [file for file in here if file.endswith(_FILES)]
    if len(checkpoints) == 1:
        return [*small, *checkpoints]
    if checkpoints:
        raise CheckpointError(
            f"{name} holds several checkpoints ({', '.join(checkpoints)}); download the one you "
            "want (hf download) and name the file"
        )
    raise CheckpointError(f"{name} holds no CLIP weights at its top level")
