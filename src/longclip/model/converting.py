"""From any checkpoint to another layout, checked on the way."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from longclip import __version__
from longclip.checkpoints.checkpoint import Activation, Checkpoint
from longclip.checkpoints.writing import SHARD_BYTES, Target, write_checkpoint
from longclip.model.audit import POSITIONS, find_stretch, sha256
from longclip.model.loading import open_checked


@dataclass(frozen=True)
class Conversion:
    """What `convert` did."""

    source: str
    destination: str
    format: str
    to: str
    sha256: str
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    destination: str | Path,
    to: Target = "hf",
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    activation: Activation | None = None,
) -> Conversion:
    """Write any CLIP in the layout of another program.

    Args:
        source: as `longclip.load` takes it.
        destination: a directory for hf, hf-text and openclip, a file for openai and comfyui.
        to: see `longclip.checkpoints.write_checkpoint`.
        dtype: what weights are stored in; None keeps theirs, and with it every bit.
        shard_bytes: the size at which an hf directory begins another weight file.
        activation: as `longclip.load`.

    Raises:
        CheckpointError: if the source is no CLIP or the target has no place for something in it.
        FileExistsError: if the destination is a directory that holds something else.
    """
    checkpoint, model = open_checked(source, activation)
    digest = sha256(checkpoint.path)
    preprocess = model.preprocess.to_json() if model.config.vision else None
    checkpoint = replace(checkpoint, config=model.config.to_json(), preprocess=preprocess)
    notes = tuple(filter(None, checkpoint.notes))
    card = _card(checkpoint, digest, notes)
    write_checkpoint(checkpoint, destination, to, dtype=dtype, shard_bytes=shard_bytes, card=card)
    return Conversion(str(source), str(destination), checkpoint.format, to, digest, notes)


def _card(checkpoint: Checkpoint, digest: str, notes: tuple[str, ...]) -> str:
    """A model card: where the weights come from and what was done to them."""
    lines = [
        "---",
        "library_name: transformers",
        "tags: [clip, long-clip]",
        "---",
        f"# {checkpoint.path.stem}",
        "",
        f"Converted by longclip {__version__}; no number was changed unless the dtype was.",
        "",
        "| | |",
        "|---|---|",
        f"| source | {checkpoint.path.name} ({checkpoint.format}) |",
        f"| sha256 of its weights | {digest} |",
    ]
    if POSITIONS in checkpoint.tensors:
        table = checkpoint.tensors[POSITIONS]
        lines += [f"| tokens | {len(table)} |", f"| positions | {find_stretch(table)} |"]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"
