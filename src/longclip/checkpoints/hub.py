"""The Hugging Face hub: models fetched by name and kept in its cache, and their cards there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from longclip.checkpoints import model_directory as directory
from longclip.checkpoints.catalogue import nearest_models
from longclip.checkpoints.formats import openclip
from longclip.checkpoints.formats.sentence_transformers import OLD_FOLDER
from longclip.checkpoints.model_names import CHECKPOINT_SUFFIXES
from longclip.errors import CheckpointError
from longclip.text.tokenizer_directory import FILES as TOKENIZER_FILES
from longclip.text.tokenizer_directory import TOKENIZER, VOCABULARIES

README = "README.md"
"""File of a model directory that holds its card."""

_MAX_CARD_BYTES = 1_000_000
# A tokenizer's files are wanted where its vocabulary is not CLIP's, which nobody knows before.
_SMALL_FILES = (
    directory.CONFIG,
    directory.PREPROCESSOR,
    directory.PROCESSOR,
    openclip.CONFIG,
    README,
    *TOKENIZER_FILES,
)
# Sets of weights, of which the first that is there is fetched.
_LAYOUTS = (
    directory.WEIGHTS,
    directory.INDEX,
    directory.PICKLED,
    f"{directory.PICKLED}.index.json",
    openclip.WEIGHTS,
    openclip.PICKLED,
)
# What is timm's in a repository that OpenCLIP and timm share.
_TRANSFORMERS = (
    directory.CONFIG,
    directory.PREPROCESSOR,
    directory.PROCESSOR,
    *_LAYOUTS[:4],
)


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the directory in the hub's cache that holds a model; download what is missing.

    Only one set of weights is fetched where a repository has several: safetensors before pickles,
    Hugging Face's layout before OpenCLIP's, a lone checkpoint file (as Long-CLIP's) last. Where
    Hugging Face's files are an image tower of timm, OpenCLIP's beside them are taken.

    Args:
        name: owner/model, or owner/model/folder for a part of a pipeline
            (`stabilityai/stable-diffusion-xl-base-1.0/text_encoder_2`).
        revision: a branch, tag or commit; the main branch where None.

    Raises:
        CheckpointError: if there is no such model, none of its files is a checkpoint, or it is
            neither in the cache nor to be had from the hub.
    """
    from huggingface_hub import HfApi, hf_hub_download

    owner, model, *folders = name.split("/")
    repository = f"{owner}/{model}"
    try:
        with hub_answers(repository, revision):
            info = HfApi().model_info(repository, revision=revision)
            inside = "".join(f"{folder}/" for folder in folders)
            everything = [file.rfilename for file in info.siblings or ()]
            files = directly_in(inside, everything)
            old = directly_in(f"{inside}{OLD_FOLDER}/", everything)
            if old and not any(file.endswith(CHECKPOINT_SUFFIXES) for file in files):
                inside, files = f"{inside}{OLD_FOLDER}/", old
            if directory.CONFIG in files and openclip.CONFIG in files:
                config = hf_hub_download(repository, inside + directory.CONFIG, revision=revision)
                if directory.is_timms(Path(config)):
                    files = [file for file in files if file not in _TRANSFORMERS]
            paths = [
                hf_hub_download(repository, inside + file, revision=revision)
                for file in files_to_fetch(name, files)
            ]
            return Path(paths[0]).parent
    except HubUnreachable as error:
        return _cached(name, revision, error)


def fetch_tokenizer(name: str) -> Path:
    """Return the directory in the hub's cache that holds the tokenizer of a model.

    Args:
        name: owner/model.

    Raises:
        CheckpointError: if there is no such model, it has no tokenizer, or it is neither in
            the cache nor to be had from the hub.
    """
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    try:
        with hub_answers(name):
            everything = [file.rfilename for file in HfApi().model_info(name).siblings or ()]
            files = [file for file in everything if file in TOKENIZER_FILES]
            vocabulary = next((file for file in VOCABULARIES if file in files), None)
            if vocabulary is None:
                raise CheckpointError(
                    f"{name} has no {TOKENIZER} on the hub, nor another file of a tokenizer"
                )
            # The one that is looked for in the cache comes last: then the others are there, too.
            files.sort(key=vocabulary.__eq__)
            return Path([hf_hub_download(name, file) for file in files][-1]).parent
    except HubUnreachable as error:
        for file in VOCABULARIES:
            if isinstance(cached := try_to_load_from_cache(name, file), str):
                return Path(cached).parent
        raise CheckpointError(
            f"{name} is not in the cache and the hub cannot be reached ({error})"
        ) from None


class HubUnreachable(Exception):
    """The hub gave no answer; the message is the first line of the reason."""


@contextmanager
def hub_answers(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the hub's library raises about a repository into two kinds of error.

    Raises:
        CheckpointError: where the hub knows no such model or revision, or asks for consent.
        HubUnreachable: where no answer came, or nothing is cached and the network is switched off.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise CheckpointError(
            f"{repository} asks for consent: accept its terms on the hub, then log in "
            "(hf auth login)"
        ) from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{repository} has no revision {revision!r}") from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"there is no model {repository} on the hub (or it is private: hf auth login)"
            f"{nearest_models(repository)}"
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise HubUnreachable(str(error).partition("\n")[0]) from error
    except Exception as error:
        # No answer came: the hub's library lets the errors of either of its HTTP clients through.
        of_client = isinstance(error, OSError) or type(error).__module__.startswith("httpx")
        if isinstance(error, ValueError) or not of_client:
            raise
        raise HubUnreachable(str(error).partition("\n")[0]) from error


def _cached(name: str, revision: str | None, error: HubUnreachable) -> Path:
    """Return what an earlier call left in the cache, without a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    owner, model, *folders = name.split("/")
    try:
        snapshot = snapshot_download(f"{owner}/{model}", revision=revision, local_files_only=True)
        directory = Path(snapshot, *folders)
        if not directory.is_dir():
            raise OSError
        return directory
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise CheckpointError(
            f"{name} is not in the cache and the hub cannot be reached ({error}); name a local "
            "directory or file, set HF_ENDPOINT to a mirror, or try the bundled `nano`"
            f"{nearest_models(name)}"
        ) from None


def directly_in(folder: str, files: Sequence[str]) -> list[str]:
    """Return the names of the files in a folder of a repository, without those further down."""
    names = [file.removeprefix(folder) for file in files if file.startswith(folder)]
    return [name for name in names if "/" not in name]


def files_to_fetch(name: str, files: Sequence[str]) -> list[str]:
    """Return the files of one set of weights, and the small ones beside it.

    Raises:
        CheckpointError: if there is no set of weights, or only lone files to choose from.
    """
    small = [file for file in files if file in _SMALL_FILES]
    for weights in _LAYOUTS:
        if weights in files:
            # The other layout's configuration would claim the directory.
            foreign = directory.CONFIG if weights.startswith("open_clip") else openclip.CONFIG
            wanted = [*(file for file in small if file != foreign), weights]
            if weights.endswith(".index.json"):
                # By the names that all programs give shards; reading notices what is missing.
                stem, _, suffix = weights.removesuffix(".index.json").rpartition(".")
                shard = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{suffix}")
                wanted += filter(shard.fullmatch, files)
            return wanted
    checkpoints = [file for file in files if file.endswith(CHECKPOINT_SUFFIXES)]
    if len(checkpoints) == 1:
        return [*small, *checkpoints]
    if checkpoints:
        raise CheckpointError(
            f"{name} holds several checkpoints ({', '.join(checkpoints)}); download the one you "
            "want (hf download) and name the file"
        )
    raise CheckpointError(
        f"{name} holds no CLIP weights at its top level; a part of a pipeline has its folder "
        "behind the name (owner/model/text_encoder)"
    )


@dataclass(frozen=True)
class Card:
    """Content of a model's page on the hub.

    Attributes:
        title: its heading.
        facts: rows of its table.
        library: name of the one that loads the model, transformers or open_clip.
        introduction: a paragraph under the heading.
        notes: a list under the table.
        sections: further Markdown, by heading.
        licence: of the weights, where it is known.
        base_model: name on the hub of the model that it was made from.
        task: the hub's name of what it is for.
    """

    title: str
    facts: Mapping[str, str]
    library: str = "transformers"
    introduction: str = ""
    notes: Sequence[str] = ()
    sections: Mapping[str, str] | None = None
    licence: str | None = None
    base_model: str | None = None
    task: str | None = None

    def text(self) -> str:
        """Return Markdown with the front matter that the hub reads."""
        from huggingface_hub import ModelCardData

        data = ModelCardData(
            license=self.licence,
            base_model=self.base_model,
            pipeline_tag=self.task,
            library_name=self.library,
            tags=["clip", "long-clip"],
        )
        cells = ([cell.replace("|", "\\|") for cell in fact] for fact in self.facts.items())
        rows = (f"| {name} | {value} |" for name, value in cells)
        parts = [
            f"---\n{data.to_yaml()}\n---\n# {self.title}",
            self.introduction,
            "\n".join(["| | |", "|---|---|", *rows]),
            "\n".join(f"- {note}" for note in self.notes),
            *(f"## {name}\n\n{body.strip()}" for name, body in (self.sections or {}).items()),
        ]
        return "\n\n".join(filter(None, parts)) + "\n"


def source_name(source: str | Path) -> str:
    """Return a name as it is, and of a path its last part, since cards are public."""
    path = Path(source)
    return path.name if path.exists() or path.parent.is_file() else str(source)  # or part of a file


def read_card(directory: Path) -> tuple[str | None, str]:
    """Return licence and text of the card in a model directory; none where it is not readable."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError  # what the hub's library parses front matter with

    path = directory / README
    if not path.is_file() or path.stat().st_size > _MAX_CARD_BYTES:
        return None, ""
    try:
        content = path.read_text(encoding="utf-8")
        if not content.startswith("---"):
            return None, content.strip()
        card = ModelCard(content)
    except (UnicodeDecodeError, YAMLError, ValueError, TypeError):
        return None, ""
    licence = card.data.get("license")
    return licence if isinstance(licence, str) else None, card.text.strip()
