"""Texts of any lengths as one stream of tokens, with no padding at all.

Everything in a transformer but attention treats each token alone, so texts may stand one after the
other; attention alone has to know where each begins. Kernels for that exist on GPUs in half
precision; on a CPU texts are sorted by length, and those of one length attend together
(`attention.attend_by_length`); elsewhere they are sorted too and padded within micro-batches.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class VarlenAttention(Protocol):
    """Attention within each of several sequences that stand one after the other.

    The call is that of `torch.nn.attention.varlen.varlen_attn`: queries [Tq, heads, width], keys
    and values [Tk, heads, width], the first token of each sequence among queries and among keys
    (int32 [N + 1], the last being Tq or Tk), and the longest of each. A window of (−1, −1) lets a
    query see its whole sequence, one of (−1, 0) nothing behind itself.
    """

    def __call__(
        self,
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
        """Return [Tq, heads, width]."""


@dataclass(frozen=True)
class PackedTexts:
    """Places of N texts in a stream of T tokens.

    Attributes:
        positions: int64 [T], place of each token in its text.
        starts: int32 [N + 1], the first token of each text, and T.
        longest: tokens of the longest text.
        attention: kernel that computes attention within texts.
    """

    positions: Tensor
    starts: Tensor
    longest: int
    attention: VarlenAttention

    @property
    def ends(self) -> Tensor:
        """Last token of each text, int64 [N]."""
        return self.starts[1:].long() - 1

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Compute causal attention within each text, all tensors [T, heads, head width]."""
        starts, longest = self.starts, self.longest
        return self.attention(
            query, key, value, starts, starts, longest, longest, window_size=(-1, 0)
        )

    def attend_from_ends(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Compute the attention of each text's last token: queries [N, heads, head width] → same.

        It sees all of its text, so there is nothing to mask.
        """
        each = torch.arange(len(self.starts), dtype=torch.int32, device=query.device)
        return self.attention(query, key, value, each, self.starts, 1, self.longest)


def pack(
    lengths: Tensor, token_budget: int, attention: VarlenAttention, device: torch.device
) -> Iterator[tuple[slice, PackedTexts]]:
    """Split a stream of texts into micro-batches of whole texts.

    Args:
        lengths: int64 [N], the tokens of each text, in the order of the stream.
        token_budget: tokens of a micro-batch; a text longer than that makes one of its own.
        attention: kernel that computes attention within texts.
        device: where the network is.

    Yields:
        the part of the stream, and the places of its texts.
    """
    sizes: list[int] = lengths.tolist()
    starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    positions = torch.arange(sum(sizes), device=lengths.device)
    positions -= starts[:-1].repeat_interleave(lengths, output_size=len(positions))
    # Moved once, not per micro-batch: each copy may wait for all that the device has still to do.
    positions, starts = positions.to(device), starts.to(device, torch.int32)
    text = token = 0  # the first of the micro-batch
    while text < len(sizes):
        end, tokens = text + 1, sizes[text]
        while end < len(sizes) and tokens + sizes[end] <= token_budget:
            tokens += sizes[end]
            end += 1
        part = slice(token, token + tokens)
        here = starts[text : end + 1] - token
        yield part, PackedTexts(positions[part], here, max(sizes[text:end]), attention)
        text, token = end, part.stop


def varlen_attention(weight: Tensor, head_width: int) -> VarlenAttention | None:
    """Return torch's kernel for packed texts, or None where it does not serve.

    It wants a CUDA device from Ampere on, half precision (of the weights, or by autocast) and
    heads whose width is a multiple of 8 and at most 256; this torch must have it too (2.11; in
    2.10 it is called in another way).

    Args:
        weight: any of the network's; its device and dtype count.
        head_width: channels per head.
    """
    if weight.device.type != "cuda" or torch.version.cuda is None:
        return None
    autocast = torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if autocast else weight.dtype
    suits = dtype in (torch.bfloat16, torch.float16) and head_width % 8 == 0 and head_width <= 256
    if not suits or torch.cuda.get_device_capability(weight.device) < (8, 0):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    called_so = "window_size" in inspect.signature(varlen_attn).parameters
    return varlen_attn if called_so else None  # type: ignore[return-value]
