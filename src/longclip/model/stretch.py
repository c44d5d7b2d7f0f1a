"""Longer position tables: knowledge-preserved stretching, plain interpolation, and their traces.

Long-CLIP (Zhang et al., ECCV 2024, section 3.2) keeps the first, well-trained positions as they
are and spreads only the rest, since a low position means an absolute place and a high one hardly
more than "later than". Both methods below read the old table at real-valued places: row p of the
new table is the old table at

    q(p) = p                        for p < keep
    q(p) = keep + (p − keep) / r    otherwise

with linear interpolation between rows, and beyond the last row along the line through the last
two. The published 77 → 248 table is keep = 20, r = 4; plain interpolation is keep = 0. (The paper
prints a floor and "pos ≤ 20"; the published code and weights follow the form above.)
"""

import copy
import math
import warnings
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from longclip.errors import UsageError
from longclip.model.clip import CLIP, check_model
from longclip.spec import (
    KEEP,
    LEAST_LONG_CONTEXT,
    LONG_CONTEXT,
    MAX_CONTEXT,
    RATIO,
    STOCK_CONTEXT,
    STOCK_CONTEXTS,
    StretchMethod,
)

# Relative to the spread of the table: float16 rounding stays below the first, and training moves
# rows by less than the second as long as the table remembers what it was stretched from.
_EXACT, _RELATED = 2e-3, 0.2


class UntrainedWarning(UserWarning):
    """A stretched model means nothing before it is trained."""


def stretch(
    model: CLIP,
    context_length: int | None = None,
    keep: int = KEEP,
    method: StretchMethod = "knowledge-preserved",
    *,
    ratio: float | None = None,
) -> CLIP:
    """Return a copy of `model` that reads `context_length` tokens; no training involved.

    Args:
        model: any CLIP; it is left as it is.
        context_length: the new number of positions; None for `usual_length`.
        keep: how many first positions stay bit for bit (knowledge-preserved only).
        method: "knowledge-preserved", or "linear", which spreads all positions evenly: the
            baseline the paper compares with.
        ratio: new positions per old one behind `keep`; by default what fills the new table,
            (context_length − keep) / (old length − keep), which is 4 for 77 → 248.

    Raises:
        ValueError: if the new table is not longer than the old, or `keep` or `ratio` do not fit.

    Warns:
        UntrainedWarning: if the model reads its padding, and so must be trained first.
    """
    longer = lengthen(model, context_length, keep, method, ratio=ratio)
    if model.config.text and model.config.text.reads_padding:
        where = "reads texts at their last position" * (model.config.text.pooling == "last")
        warnings.warn(
            f"this model {where or 'sees behind the end of a text'}, padding included: it was "
            f"trained on texts padded to {model.context_length} tokens, and with "
            f"{longer.context_length} its embeddings of texts are noise until it is trained so: "
            f"longclip train --recipe paper --model {model.name or 'MODEL'} --context-length "
            f"{longer.context_length} --data DATA --out OUT",
            UntrainedWarning,
            stacklevel=2,
        )
    return longer


def usual_length(context_length: int) -> int:
    """Return the length that a model of `context_length` is given where nobody names one.

    Long-CLIP's 248 of 77 goes by the rule KEEP + RATIO · (L − KEEP), which is 196 of SigLIP's 64.

    Raises:
        UsageError: if the model is a long one already.
    """
    if context_length > STOCK_CONTEXT:
        raise UsageError(
            f"this model reads {context_length} tokens already; name --context-length to lengthen "
            "it further, or train it as it is (--stretch none)"
        )
    return max(LEAST_LONG_CONTEXT, KEEP + RATIO * (context_length - KEEP))


def why_this_length(length: int, *, named: bool) -> str:
    """Say for a model's card how the number of tokens of a stretched model was chosen."""
    if named:
        return "as --context-length said"
    if length == LEAST_LONG_CONTEXT:
        return "nobody named a number, and fewer would not hold a description"
    old = KEEP + (length - KEEP) // RATIO
    rule = f"{KEEP} + {RATIO} · ({old} − {KEEP})"
    return f"nobody named a number; {rule}, as Long-CLIP's {LONG_CONTEXT}"


def lengthen(
    model: CLIP,
    context_length: int | None,
    keep: int,
    method: StretchMethod,
    *,
    ratio: float | None = None,
) -> CLIP:
    """Return what `stretch` does, without its warning: for what trains or replaces the rows."""
    check_model(model, "stretch")
    if method not in get_args(StretchMethod):
        raise UsageError(f"method {method!r} is not 'knowledge-preserved' or 'linear'")
    if model.config.text is None:
        raise UsageError("this model is an image tower alone; there is no text to lengthen")
    if context_length is None:
        context_length = usual_length(model.context_length)
    longer = copy.deepcopy(model)
    embedding = longer.text_model.embeddings.position_embedding
    keep = keep if method == "knowledge-preserved" else 0
    table = stretch_table(embedding.weight.detach(), context_length, keep=keep, ratio=ratio)
    embedding.weight = torch.nn.Parameter(table, requires_grad=embedding.weight.requires_grad)
    embedding.num_embeddings = context_length
    text = replace(model.config.text, max_position_embeddings=context_length)
    longer.config = replace(longer.config, text=text)
    return longer


def stretch_table(
    table: Tensor, length: int, *, keep: int = KEEP, ratio: float | None = None
) -> Tensor:
    """Stretch a position table [L, D] to [length, D], in the table's dtype.

    Rows below `keep` are copied; the others are interpolated in float32 at least.

    Raises:
        ValueError: as `stretch`.
    """
    old = table.shape[0]
    if length <= old:
        raise UsageError(
            f"--context-length {length} is not longer than the model's {old}; "
            "stretching only lengthens"
        )
    if length > MAX_CONTEXT:
        raise UsageError(
            f"--context-length {length} is more than {MAX_CONTEXT}, the greatest that a "
            "model may have"
        )
    if not 0 <= keep <= old - 2:
        raise UsageError(
            f"keep {keep} leaves nothing to interpolate in a table of {old} positions; "
            f"it must be between 0 and {old - 2} (the paper keeps {KEEP} of {STOCK_CONTEXT})"
        )
    natural = (length - keep) / (old - keep)
    ratio = natural if ratio is None else ratio
    # The natural ratio reads less than one row past the table's end; further out there is no data.
    if not natural <= ratio < math.inf:
        raise UsageError(
            f"ratio {ratio} reads far beyond the old table; for {old} → {length} positions with "
            f"keep {keep} it must be at least {natural:.4g}"
        )
    places = torch.arange(length, dtype=torch.float64)
    places[keep:] = keep + (places[keep:] - keep) / ratio
    # The last rows lie behind the old table's end, by less than a row: there the last two old rows
    # are the ones below and above too, with a share over 1, which continues the line through them.
    below = places.floor().clamp(max=old - 2).long()
    share = (places - below).to(table.device)[:, None]
    exact = table.to(torch.promote_types(table.dtype, torch.float32))
    below = below.to(table.device)
    first, second = exact[below], exact[below + 1]
    stretched = (first + share.to(exact.dtype) * (second - first)).to(table.dtype)
    stretched[:keep] = table[:keep]
    return stretched


@dataclass(frozen=True)
class StretchFinding:
    """The way in which a position table was lengthened.

    Attributes:
        kind: none (as short as CLIP's own, or no trace is found or left), knowledge-preserved,
            linear, or trained (stretched, then moved by training).
        keep: rows that were kept.
        ratio: new rows per old row behind them.
        original: rows before stretching; 0 where the table is one that models come with.
        deviation: distance from what stretching alone gives, relative to the table's spread.
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
        return f"stretched from {what}; rows as stretching made them, hardly trained or not at all"


def find_stretch(table: Tensor) -> StretchFinding:
    """Find out how a position table [L, D] was stretched.

    Stretching is linear, table = A(keep) · old: for each number of kept rows the best old table is
    a least-squares solution, and what it leaves over says how well that number explains the table.
    """
    length = len(table)
    if length in STOCK_CONTEXTS or length < min(STOCK_CONTEXTS):
        return StretchFinding("none")
    rows = table.detach().to("cpu", torch.float64)
    spread = float((rows - rows.mean(dim=0)).norm()) or 1.0
    left = {}
    for original in [old for old in STOCK_CONTEXTS if old < length]:
        for keep in range(original - 1):
            # The stretched identity is the matrix A itself, one column per old row.
            matrix = stretch_table(torch.eye(original, dtype=torch.float64), length, keep=keep)
            basis = torch.linalg.qr(matrix).Q
            left[original, keep] = float((rows - basis @ (basis.T @ rows)).norm()) / spread

    def unlikelihood(found: tuple[int, int]) -> float:
        """Return twice the negative logarithm, of L rows that are moved by noise.

        More old rows always leave over less; what they explain by chance is taken out, and each
        costs the logarithm of L (Bayesian information criterion).
        """
        rows, noise = found[0], max(left[found], 1e-9) / math.sqrt(length - found[0])
        return 2 * length * math.log(noise) + rows * math.log(length)

    original, keep = min(left, key=unlikelihood)
    deviation = left[original, keep]
    if not math.isfinite(deviation):
        return StretchFinding("none")
    if deviation > _RELATED:
        return StretchFinding("none", original=original, deviation=deviation)
    kind = "linear" if keep == 0 else "knowledge-preserved"
    if deviation > _EXACT:
        kind = "trained"
    ratio = (length - keep) / (original - keep)
    return StretchFinding(kind, keep, ratio, original, deviation)
