"""Facts about a checkpoint, and its differences from another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch

from longclip.checkpoints.checkpoint import Checkpoint
from longclip.checkpoints.formats.huggingface import dtype_name
from longclip.checkpoints.formats.longclip import FROZEN
from longclip.checkpoints.tensor_files import compare_checksum, is_safetensors
from longclip.model.config import TextConfig
from longclip.model.identity import files_sha256
from longclip.model.stretch import find_stretch
from longclip.spec import KEEP, POSITION_TABLE
from longclip.util.terminal import SILENT, OnProgress

_PROJECTIONS = ("text_projection.weight", "visual_projection.weight")
# Settings that change the result and are in no tensor, with the defaults of transformers.
_BESIDE_TENSORS = {
    "hidden_act": "quick_gelu",
    "num_attention_heads": None,
    "layer_norm_eps": 1e-5,
    "causal": True,
    "pooling": None,
}
_SIZES = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
    "activation": "hidden_act",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "vocabulary": "vocab_size",
}


_FAMILIES = {
    "clip": "CLIP",
    "metaclip_2": "MetaCLIP 2",
    "siglip": "SigLIP",
    "open_clip": "OpenCLIP",
}


@dataclass(frozen=True)
class Difference:
    """A difference of two checkpoints.

    Attributes:
        name: of a tensor or a setting.
        largest: largest difference of two numbers; infinite where they cannot be compared.
        note: reason why they cannot.
    """

    name: str
    largest: float
    note: str = ""


def compare(one: Checkpoint, other: Checkpoint) -> list[Difference]:
    """Return the differences of tensors, and of settings that no tensor shows.

    There are none between two formats of the same model.
    """
    sections, others = _sections(one), _sections(other)
    found = [
        Difference(f"{tower} tower, {name}", float("inf"), f"{values[0]} and {values[1]}")
        for tower in sections.keys() & others.keys()
        for name, default in _BESIDE_TENSORS.items()
        if len(set(values := [part[tower].get(name, default) for part in (sections, others)])) > 1
    ]
    for name in sorted(one.tensors.keys() | other.tensors.keys()):
        mine, yours = one.tensors.get(name), other.tensors.get(name)
        if mine is None or yours is None:
            where = one.path if yours is None else other.path
            found.append(Difference(name, float("inf"), f"only in {where}"))
        elif mine.shape != yours.shape:
            shapes = f"{list(mine.shape)} and {list(yours.shape)}"
            found.append(Difference(name, float("inf"), shapes))
        elif not torch.equal(mine, yours):
            found.append(Difference(name, float((mine.double() - yours.double()).abs().max())))
    return found


def lost_rows(original: Checkpoint, converted: Checkpoint) -> str | None:
    """Describe a converted Long-CLIP's position rows: trained, or the frozen table in their place.

    Several public conversions have.

    Returns:
        A sentence, or None where `original` is no Long-CLIP with two tables or the tables cannot be
        compared.
    """
    frozen = original.extras.get(FROZEN)
    table = converted.tensors.get(POSITION_TABLE)
    if frozen is None or table is None or table.shape != frozen.shape:
        return None
    right = original.tensors[POSITION_TABLE]
    to_right, to_frozen = (
        float((table.double() - rows.double())[KEEP:].abs().max()) for rows in (right, frozen)
    )
    # Half precision may have rounded either.
    if to_right <= to_frozen:
        return f"the trained position rows are there (largest difference {to_right:.1e})"
    return (
        f"the trained position rows are LOST: rows from {KEEP} on are the frozen table's "
        f"(off by up to {to_right:.1e}); convert the original again"
    )


def summary(checkpoint: Checkpoint, on_progress: OnProgress = SILENT) -> dict[str, Any]:
    """Return the facts that `longclip inspect` prints, as JSON.

    Raises:
        OSError: if a weight file cannot be read for its hash.
    """
    tensors = checkpoint.tensors
    found: dict[str, Any] = {
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "sha256": files_sha256(checkpoint.files, on_progress),
        "checksum": _checksum(checkpoint.files),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "dtypes": sorted({dtype_name(tensor.dtype) for tensor in tensors.values()}),
        "towers": {
            tower: _tower(tower, section) for tower, section in _sections(checkpoint).items()
        },
        "family": _FAMILIES[checkpoint.config.get("layout", "clip")],
        "joint": next((len(tensors[name]) for name in _PROJECTIONS if name in tensors), None),
        "notes": list(checkpoint.notes),
    }
    if POSITION_TABLE in tensors:
        stretched = find_stretch(tensors[POSITION_TABLE])
        found["context_length"] = len(tensors[POSITION_TABLE])
        found["stretch"] = {**vars(stretched), "text": str(stretched)}
    return found


def _tower(name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a tower; of a text tower also how it reads."""
    found = {ours: section[theirs] for ours, theirs in _SIZES.items() if theirs in section}
    if "owner" in section:
        found["owner"] = section["owner"]
        timm = section["config"].get("vision_cfg", {}).get("timm_model_name")
        found |= {"network": timm} if timm else {}
    if name == "text":
        text = TextConfig.from_json(section)
        found |= {"causal": text.causal, "pooling": text.pooling}
    return found


def _checksum(files: Sequence[Path]) -> str:
    """Return "right" where all files have their numbers' checksum, else "none".

    Raises:
        CheckpointError: if one is wrong.
    """
    # Torch's archives have one for every part, compared when they were opened.
    checked = [
        is_zipfile(file) or (is_safetensors(file) and compare_checksum(file)) for file in files
    ]
    return "right" if all(checked) else "none"


def _sections(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Return the configuration of each tower that is there."""
    config = checkpoint.config
    if checkpoint.has("text") and checkpoint.has("image"):
        return {"text": config["text_config"], "image": config["vision_config"]}
    return {"text" if checkpoint.has("text") else "image": dict(config)}
