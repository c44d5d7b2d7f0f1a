"""What a checkpoint is, how its position table came about, and how it differs from another."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.checkpoints.checkpoint import KEEP, Checkpoint
from longclip.model.stretch import stretch_table

POSITIONS = "text_model.embeddings.position_embedding.weight"

_ORIGINAL_LENGTHS = (77,)
# Relative to the spread of the table: float16 rounding stays below the first, and training moves
# rows by less than the second as long as the table remembers what it was stretched from.
_EXACT, _RELATED = 2e-3, 0.2
_CHUNK = 1 << 24


@dataclass(frozen=True)
class StretchFinding:
    """How a position table was lengthened.

    Attributes:
        kind: none, knowledge-preserved, linear, or trained (stretched, then moved by training).
        keep: rows that were kept.
        ratio: new rows per old row behind them.
        original: rows before stretching.
        deviation: how far the table is from what stretching alone gives, relative to its spread.
    """

    kind: str
    keep: int = 0
    ratio: float = 1.0
    original: int = 0
    deviation: float = 0.0

    def __str__(self) -> str:
        if self.kind == "none":
            return "not stretched, or trained until no trace of it is left"
        how = "plain interpolation" if self.keep == 0 else f"the first {self.keep} rows kept"
        what = f"{self.original} rows, {how}, ratio {self.ratio:.4g}"
        if self.kind == "trained":
            return f"stretched from {what}, then trained (moved by {self.deviation:.1%})"
        return f"stretched from {what}; rows as stretching made them, not trained since"


def find_stretch(table: Tensor) -> StretchFinding:
    """Solve for how a position table [L, D] was stretched.

    Stretching is linear, table = A(keep) · old: for each number of kept rows the best old table is
    a least-squares solution, and what it leaves over says how well that number explains the table.
    """
    rows = table.detach().to("cpu", torch.float64)
    spread = float((rows - rows.mean(dim=0)).norm()) or 1.0
    best = StretchFinding("none", deviation=1.0)
    for original in _ORIGINAL_LENGTHS:
        if len(rows) <= original:
            continue
        for keep in range(original - 1):
            matrix = stretch_table(torch.eye(original, dtype=torch.float64), len(rows), keep=keep)
            basis = torch.linalg.qr(matrix).Q
            left = float((rows - basis @ (basis.T @ rows)).norm()) / spread
            if left < best.deviation:
                ratio = (len(rows) - keep) / (original - keep)
                best = StretchFinding("trained", keep, ratio, original, left)
    if best.deviation > _RELATED:
        return StretchFinding("none")
    if best.deviation > _EXACT:
        return best
    kind = "linear" if best.keep == 0 else "knowledge-preserved"
    return StretchFinding(kind, best.keep, best.ratio, best.original, best.deviation)


@dataclass(frozen=True)
class Difference:
    """One tensor of two checkpoints; `largest` is the largest difference of two numbers."""

    name: str
    largest: float
    note: str = ""


def compare(one: Checkpoint, other: Checkpoint) -> list[Difference]:
    """What differs, tensor by tensor; empty for the same model in two formats."""
    found = []
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
    """Whether a converted Long-CLIP has the frozen table where the trained rows belong.

    Several public conversions have. Returns what is the case, in words, or None where `original`
    is no Long-CLIP with two tables or the tables cannot be compared.
    """
    frozen = original.extras.get("positional_embedding")
    table = converted.tensors.get(POSITIONS)
    if frozen is None or table is None or table.shape != frozen.shape:
        return None
    right = original.tensors[POSITIONS]
    to_right, to_frozen = (
        float((table.double() - rows.double())[KEEP:].abs().max()) for rows in (right, frozen)
    )
    # Half precision may have rounded either.
    if to_right <= to_frozen:
        return f"the trained position rows are there (largest difference {to_right:.1e})"
    return (
        "the trained position rows are LOST: rows from 20 on are the frozen table's "
        f"(off by up to {to_right:.1e}); convert the original again"
    )


def sha256(path: Path) -> str:
    """Of a file, or of the weight files of a directory in the order of their names."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    for file in files or sorted(p for p in path.iterdir() if p.suffix in (".bin", ".pt")):
        with file.open("rb") as stream:
            while block := stream.read(_CHUNK):
                digest.update(block)
    return digest.hexdigest()


def summary(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything `longclip inspect` tells, as JSON."""
    config, tensors = checkpoint.config, checkpoint.tensors
    towers = {
        name: section
        for name, section in (
            ("text", config.get("text_config")),
            ("image", config.get("vision_config")),
        )
        if section is not None
    }
    if not towers:
        towers = {"text" if POSITIONS in tensors else "image": config}
    found: dict[str, Any] = {
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "sha256": sha256(checkpoint.path),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "dtypes": sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()}),
        "towers": {name: _tower(section) for name, section in towers.items()},
        "joint": next((tensors[n].shape[0] for n in _PROJECTIONS if n in tensors), None),
        "notes": list(filter(None, checkpoint.notes)),
    }
    if POSITIONS in tensors:
        stretched = find_stretch(tensors[POSITIONS])
        found["context_length"] = len(tensors[POSITIONS])
        found["stretch"] = {**vars(stretched), "text": str(stretched)}
    return found


_PROJECTIONS = ("text_projection.weight", "visual_projection.weight")


def _tower(section: dict[str, Any]) -> dict[str, Any]:
    names = {
        "width": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "inner": "intermediate_size",
        "activation": "hidden_act",
        "image_size": "image_size",
        "patch_size": "patch_size",
        "vocabulary": "vocab_size",
    }
    return {ours: section[theirs] for ours, theirs in names.items() if theirs in section}
