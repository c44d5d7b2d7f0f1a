"""Conversion of any checkpoint to the layout of another program, checked on the way."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch

from longclip import __version__
from longclip.checkpoints.checkpoint import Checkpoint
from longclip.checkpoints.formats.declip import fold_bias
from longclip.checkpoints.hub import Card, read_card, source_name
from longclip.checkpoints.model_names import full_name
from longclip.checkpoints.tensor_files import OnBytes, stored_size
from longclip.checkpoints.write import Storing, write_checkpoint
from longclip.errors import UsageError
from longclip.model.identity import MEGABYTE, files_sha256
from longclip.model.pretrained import open_checked
from longclip.model.stretch import find_stretch
from longclip.spec import POSITION_TABLE, Activation, ExportTarget
from longclip.util.terminal import SILENT, OnProgress

_WRITING = "writing, MB"


@dataclass(frozen=True)
class Conversion:
    """Record of what `convert` did.

    Attributes:
        source: as it was named.
        destination: as it was named.
        format: format of the source.
        to: target that was written.
        sha256: of the source's weight files.
        notes: changes on the way, in words.
    """

    source: str
    destination: str
    format: str
    to: str
    sha256: str
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    destination: str | Path,
    to: ExportTarget = "hf",
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = Storing.shard_bytes,
    activation: Activation | None = None,
    revision: str | None = None,
    new_tokenizer: bool = False,
    on_progress: OnProgress = SILENT,
) -> Conversion:
    """Write any CLIP in the layout of another program.

    Args:
        source: as `longclip.load` takes it.
        destination: a directory for hf, hf-text and openclip, a file for the others.
        to: see `longclip.checkpoints.write.write_checkpoint`.
        dtype: of the stored weights; None keeps theirs, and with it every bit.
        shard_bytes: the size at which an hf directory begins another weight file.
        activation: as `longclip.load`.
        revision: as `longclip.load`.
        new_tokenizer: take a tokenizer that is not the one the model was saved with, and note its
            checksums.
        on_progress: gets the megabytes that have been hashed and written.

    Raises:
        CheckpointError: if the source is no CLIP or the target has no place for something in it.
        FileExistsError: if the destination is a directory that holds something else.
        UsageError: if there is no such target.
    """
    if to not in get_args(ExportTarget):
        raise UsageError(
            f"convert writes {', '.join(get_args(ExportTarget))}, not {to!r}; ONNX files are "
            "written by longclip.export.export_onnx"
        )
    source = full_name(source)
    checkpoint, model = open_checked(
        source, activation=activation, revision=revision, new_tokenizer=new_tokenizer
    )
    preprocess = model.preprocess.to_json() if model.config.vision else None
    checkpoint = replace(checkpoint, config=model.config.to_json(), preprocess=preprocess)
    if model.config.layout == "clip" or to in ("hf-text", "comfyui"):
        checkpoint = fold_bias(checkpoint)  # other layouts have a place for it
    digest = files_sha256(checkpoint.files, on_progress)
    storing = Storing(
        dtype,
        shard_bytes,
        _card(checkpoint, source_name(source), digest, to),
        _megabytes(on_progress, checkpoint, dtype),
    )
    write_checkpoint(checkpoint, destination, to, storing)
    return Conversion(
        str(source), str(destination), checkpoint.format, to, digest, checkpoint.notes
    )


def _megabytes(
    on_progress: OnProgress, checkpoint: Checkpoint, dtype: torch.dtype | None
) -> OnBytes:
    total = sum(stored_size(tensor, dtype) for tensor in checkpoint.tensors.values())
    done = 0

    def on_bytes(more: int) -> None:
        nonlocal done
        done += more
        on_progress(_WRITING, min(done, total) // MEGABYTE, total // MEGABYTE)

    on_progress(_WRITING, 0, total // MEGABYTE)
    return on_bytes


def _card(checkpoint: Checkpoint, name: str, digest: str, target: ExportTarget) -> str:
    """Return a card that says where the weights come from, with the source's own card in it."""
    path = checkpoint.path
    licence, earlier = read_card(path if path.is_dir() else path.parent)
    facts = {
        "source": f"{name} ({checkpoint.format})",
        "sha256 of its weights": digest,
    }
    if POSITION_TABLE in checkpoint.tensors:
        table = checkpoint.tensors[POSITION_TABLE]
        facts |= {"tokens": str(len(table)), "positions": str(find_stretch(table))}
    return Card(
        title=Path(name).stem if path.is_file() else name,
        introduction=f"Converted by longclip {__version__}; no number was changed unless the dtype "
        "was, or a note below says so.",
        facts=facts,
        library="open_clip" if target == "openclip" else "transformers",
        notes=checkpoint.notes,
        sections={"The card of the source": earlier} if earlier else None,
        licence=licence,
    ).text()
