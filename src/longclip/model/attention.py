"""Scaled dot-product attention: the fastest exact way to compute it on each kind of device."""

from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 64
"""Queries that attend together, causally, on a CPU."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    causal: bool = False,
    visible: Tensor | None = None,
) -> Tensor:
    """Compute scaled dot-product attention, all tensors [batch, heads, length, head width].

    `visible` says which keys a query may look at: bool, broadcast to [batch, heads, queries, keys].

    Where gradients are needed on a CPU in bfloat16, torch's fused kernel is left aside: its
    backward pass is 3 to 5 times slower there than the three plain steps below.
    """
    on_cpu = query.device.type == "cpu"
    if on_cpu and query.dtype == torch.bfloat16 and query.requires_grad:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if causal:
            length = query.shape[-2]
            scores = scores + scores.new_full((length, length), -torch.inf).triu(1)
        if visible is not None:
            scores = scores.masked_fill(~visible, -torch.inf)
        # The bfloat16 softmax kernel computes in float32 and rounds once, at its end.
        mixed: Tensor = scores.softmax(dim=-1) @ value
        return mixed
    if on_cpu and causal and not query.requires_grad and not torch.compiler.is_compiling():
        return _attend_in_blocks(query, key, value)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=visible, is_causal=causal)


def _attend_in_blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute causal attention a block of queries at a time, each with the keys up to its end.

    torch's kernel for CPUs computes what a causal mask hides as well, unless a text has more than
    512 tokens.
    """
    length = query.shape[-2]
    mask = query.new_full((length, length), -torch.inf).triu_(1)
    parts = []
    for start in range(0, length, _BLOCK):
        end = min(start + _BLOCK, length)
        block, seen = query[:, :, start:end], slice(0, end)
        parts.append(
            F.scaled_dot_product_attention(
                block, key[:, :, seen], value[:, :, seen], attn_mask=mask[start:end, seen]
            ).transpose(1, 2)
        )
    # Joined with the heads behind the length, as the next matrix product wants them.
    return torch.cat(parts, dim=1).transpose(1, 2)


def attend_by_length(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    /,
    *,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """Compute attention of packed texts where no kernel does (see `VarlenAttention`).

    Texts of one length that stand together are one batch without padding, so a stream that is
    sorted by length costs few calls.
    """
    del max_q, max_k
    causal = window_size == (-1, 0)
    assert causal or window_size == (-1, -1)
    lengths = zip(cu_seq_q.diff().tolist(), cu_seq_k.diff().tolist(), strict=True)
    runs = [(sizes, len(list(texts))) for sizes, texts in groupby(lengths)]
    # Split and not sliced: the backward pass of that is one concatenation.
    queries, keys, values = (
        torch.split(tensor, [sizes[which] * count for sizes, count in runs])
        for tensor, which in ((query, 0), (key, 1), (value, 1))
    )
    mixed = [
        attend(
            *(torch.unflatten(part, 0, (count, -1)).transpose(1, 2) for part in parts),
            causal=causal,
        )
        for *parts, (_, count) in zip(queries, keys, values, runs, strict=True)
    ]
    return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in mixed])
