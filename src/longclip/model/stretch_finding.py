"""How a position table was lengthened, solved for from its numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from longclip.model.stretch import stretch_table

_ORIGINAL_LENGTHS = (77,)
# Relative to the spread of the table: float16 rounding stays below the first, and training moves
# rows by less than the second as long as the table remembers what it was stretched from.
_EXACT, _RELATED = 2e-3, 0.2


@dataclass(frozen=True)
class StretchFinding:
    """How a position table was lengthened.

    Attributes:
        kind: none (as short as CLIP's own, or no trace is found or left), knowledge-preserved,
            linear, or trained (stretched, then moved by training).
        keep: rows that were kept.
        ratio: new rows per old row behind them.
        original: rows before stretching; 0 where the table is not longer than CLIP's.
        deviation: how far the table is from what stretching alone gives, relative to its spread.
    """

    kind: str
    keep: int = 0
    ratio: float = 1.0
    original: int = 0
    deviation: float = 0.0

    def __str__(self) -> str:
        if self.kind == "none":
            return "no trace of stretching" if self.original else "not stretched"
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
    best = StretchFinding("none", deviation=float("inf"))
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
    if best.original == 0:
        return StretchFinding("none")
    if best.deviation > _RELATED:
        return StretchFinding("none", original=best.original, deviation=best.deviation)
    if best.deviation > _EXACT:
        return best
    kind = "linear" if best.keep == 0 else "knowledge-preserved"
    return StretchFinding(kind, best.keep, best.ratio, best.original, best.deviation)
