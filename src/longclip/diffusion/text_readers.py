"""Readers of texts: CLIP's own tokenizer, that of a checkpoint, and a pipeline's tokenizers."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longclip.diffusion.windows import quiet_about_cuts
from longclip.errors import UsageError
from longclip.options import refuse_revision
from longclip.spec import STOCK_CONTEXT
from longclip.text.tokenizer import clip_tokenizer
from longclip.util.libraries import require_libraries
from longclip.util.regular_files import read_regular

_FOLDERS = ("tokenizer", "tokenizer_2")
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class TextReader:
    """Tokenizer of one text encoder, with the length that the encoder reads.

    Attributes:
        name: of the encoder or its tokenizer; several readers of a pipeline differ in it.
        context_length: tokens it reads, begin and end included.
        encode: the ids of a text, without begin and end.
        pieces: one printable string per id; the last piece of a word ends in a space.
    """

    name: str
    context_length: int
    encode: Callable[[str], list[int]]
    pieces: Callable[[list[int]], list[str]]


def clip_reader(context_length: int = STOCK_CONTEXT, name: str = "CLIP") -> TextReader:
    """Return a reader with CLIP's own tokenizer, which needs no other library."""
    tokenizer = clip_tokenizer()
    return TextReader(
        name=name,
        context_length=context_length,
        encode=lambda text: tokenizer.encode([text])[0][1:-1],
        pieces=_clip_pieces,
    )


def tokenizer_reader(tokenizer: Any, name: str) -> TextReader:
    """Return a reader with a transformers `CLIPTokenizer` and the tokens that were added to it.

    A token of textual inversion that stands for several vectors is read as all of them, as
    diffusers does.
    """
    from longclip.diffusion.pipeline import quiet_libraries

    with quiet_libraries():
        loaders: Any = importlib.import_module("diffusers.loaders")
    expand = loaders.TextualInversionLoaderMixin().maybe_convert_prompt

    def encode(text: str) -> list[int]:
        with quiet_about_cuts():
            expanded = expand(text, tokenizer)
            ids = tokenizer(expanded, add_special_tokens=False, verbose=False).input_ids
        return [int(id) for id in ids]

    def pieces(ids: list[int]) -> list[str]:
        added = {id: f"{text} " for text, id in tokenizer.added_tokens_encoder.items()}
        known = [id for id in ids if id not in added]
        readable = iter(_clip_pieces(known))
        return [added[id] if id in added else next(readable) for id in ids]

    return TextReader(name, int(tokenizer.model_max_length), encode, pieces)


def pipeline_readers(pipeline: Any) -> list[TextReader]:
    """Return the readers of a pipeline in memory, in the order of its encoders."""
    from longclip.diffusion.pipeline import text_slots

    names = [slot.tokenizer for slot in text_slots(pipeline)]
    return [tokenizer_reader(getattr(pipeline, name), name) for name in names]


def open_readers(model: str | None = None, revision: str | None = None) -> list[TextReader]:
    """Open the readers of a model by its name; none of its weights is fetched.

    Args:
        model: a diffusers pipeline's directory or hub id, a CLIP checkpoint as `longclip.load`
            takes it, or None for a stock CLIP.
        revision: branch, tag or commit of a model on the hub.

    Raises:
        UsageError: if there is no such model, it has no CLIP tokenizer, or transformers and
            diffusers are needed and not installed.
    """
    if model is None:
        refuse_revision("a stock CLIP's tokenizer", revision)
        return [clip_reader()]
    # These import torch, which CLIP's own tokenizer does without.
    from longclip.checkpoints.model_names import check_model_name, full_name, is_hub_id
    from longclip.diffusion.pipeline_files import INDEX, answers_or_missing, fetch_files

    model = full_name(model)
    check_model_name(model)
    path = Path(model)
    if path.exists() or not is_hub_id(model):
        refuse_revision(model, revision)
    if path.is_dir() and (path / INDEX).is_file():
        return _directory_readers(path)
    if path.exists() or not is_hub_id(model):
        return [clip_reader(_context_length(model), model)]
    directory = _fetched(model, INDEX, revision)
    if directory is None:
        return [clip_reader(_hub_context_length(model, revision), model)]
    if not any((directory / name).is_dir() for name in _FOLDERS):
        from huggingface_hub import HfApi

        with answers_or_missing(model, revision):
            siblings = HfApi().model_info(model, revision=revision).siblings or ()
        files = [file.rfilename for file in siblings]
        fetch_files(model, [f for f in files if f.partition("/")[0] in _FOLDERS], revision)
    return _directory_readers(directory)


def _clip_pieces(ids: list[int]) -> list[str]:
    """Return pieces in which a character of several tokens stands with the first of them."""
    tokenizer = clip_tokenizer()
    pieces = tokenizer.pieces(ids)
    start = 0
    while start < len(pieces):
        end = start + 1
        while _UNREADABLE in pieces[start] and end < len(pieces):
            together = tokenizer.decode(ids[start : end + 1])
            pieces[end], whole = "", pieces[end].endswith(" ")
            end += 1
            if _UNREADABLE not in together:
                pieces[start] = together + " " * whole
        start = end
    return pieces


def _directory_readers(path: Path) -> list[TextReader]:
    """Open the tokenizers of a pipeline's directory, which its index names."""
    from longclip.diffusion.pipeline import quiet_libraries
    from longclip.diffusion.pipeline_files import INDEX

    require_libraries("diffusion")
    with quiet_libraries():
        from transformers import CLIPTokenizer

    try:
        index = json.loads(read_regular(path / INDEX))
        kinds = {name: index[name][1] for name in _FOLDERS if name in index}
    except (ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
        raise UsageError(f"{path / INDEX} is not a pipeline's: {error}") from None
    found = [name for name, kind in kinds.items() if str(kind).startswith("CLIPTokenizer")]
    if not found:
        raise UsageError(f"{path} has no CLIP tokenizer; its prompts are read by something else")
    return [
        tokenizer_reader(CLIPTokenizer.from_pretrained(path, subfolder=name), name)
        for name in found
    ]


def _context_length(source: str) -> int:
    """Return how many tokens a checkpoint on this machine reads; its weights stay in the file."""
    from longclip.model.pretrained import open_checked

    _, model = open_checked(source, "text")
    return model.context_length


def _hub_context_length(model: str, revision: str | None) -> int:
    """Return how many tokens a model on the hub reads, by its configuration where it has one.

    A checkpoint without one must lie on this machine: its weights alone show the length.
    """
    from longclip.checkpoints.config import read_json
    from longclip.diffusion.pipeline_files import require_here

    owner, name, *folder = model.split("/")
    directory = _fetched(f"{owner}/{name}", "/".join([*folder, "config.json"]), revision)
    if directory is not None:
        file = Path(directory, *folder, "config.json")
        config = read_json(file)
        text = config.get("text_config") or config
        if "max_position_embeddings" in text:
            return int(text["max_position_embeddings"])
    require_here(encoders=[model], revision=revision)
    return _context_length(model)


def _fetched(repository: str, file: str, revision: str | None) -> Path | None:
    """Fetch one small file and return its model's directory in the cache; None if it has none."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from longclip.diffusion.pipeline_files import answers_or_missing

    with answers_or_missing(repository, revision):
        from huggingface_hub import hf_hub_download

        try:
            found = Path(hf_hub_download(repository, file, revision=revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return None
    return found.parents[len(Path(file).parts) - 1]
