"""Part of a loss: the rows one process accounts for, a chunk of them in memory at a time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def counted_rows(rows: slice | None, total: int) -> slice:
    """`rows` with its ends filled in; all of `total` rows for None. No rows at all is allowed."""
    if rows is None:
        return slice(0, total)
    start, stop, step = rows.indices(total)
    assert step == 1, f"{rows} is not a contiguous run of rows"
    assert start <= stop, f"{rows} ends before it starts"
    assert rows.stop is None or rows.stop <= total, f"{rows} of {total} rows"
    return slice(start, stop)


def sum_over_chunks(
    block: Callable[..., Tensor], tensors: Sequence[Tensor], rows: slice, chunk: int
) -> Tensor:
    """The sum of `block(*parts)`, a scalar sum over rows, for `rows` of all `tensors`.

    With `chunk` > 0 that many rows are done at a time and done again in the backward pass, so what
    a block computes inside never exists for more rows than that. No rows sum to a zero that still
    has a backward pass, which a process without rows needs to take part in the others' collectives.
    """
    parts = [tensor[rows] for tensor in tensors]
    if not chunk:
        return block(*parts)
    chunks = zip(*(torch.split(part, chunk) for part in parts), strict=True)
    return torch.stack([_recomputed(block, *portion) for portion in chunks]).sum()


def _recomputed(block: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    # No loss draws random numbers, so there is no generator state to keep.
    result: Tensor = checkpoint(block, *parts, use_reentrant=False, preserve_rng_state=False)
    return result
