"""Choice of the device that a model runs on and of the numbers that it computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from longclip.errors import UsageError

_KINDS = ("cpu", "cuda", "mps", "xpu")
"""Devices that compute; torch also has names, such as meta, for tensors without values."""


def pick_device(name: str) -> str:
    """Return the device that `name` stands for.

    Args:
        name: `auto` for CUDA, else MPS where it works, else the CPU; any other name is returned as
            it is, and refused where a model is placed on it.

    Raises:
        UsageError: if torch knows no device of that name.
    """
    if name != "auto":
        try:
            known = torch.device(name).type in _KINDS
        except RuntimeError:
            known = False
        if not known:
            raise UsageError(
                f"device {name!r} cannot be used, it is none that torch knows: take --device cpu, "
                "cuda, cuda:1 or mps"
            )
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if _mps_works() else "cpu"


def pick_dtype(name: str, *, auto: torch.dtype) -> torch.dtype:
    """Return the dtype that `name` stands for.

    Args:
        name: `float32`, `bfloat16`, `float16`, or `auto`.
        auto: the choice of the caller, who knows what its results have to agree with.
    """
    dtype: torch.dtype = auto if name == "auto" else getattr(torch, name)
    return dtype


def has_fast_bfloat16(device: str | torch.device) -> bool:
    """Return whether the device has instructions for bfloat16; elsewhere it is emulated, slowly."""
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    # Older versions of torch ask for each; no processor has tiles without bfloat16.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def fast_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """Return bfloat16 where the device has instructions for it, else float32.

    Embeddings in bfloat16 agree with those in float32 to about three digits, which ranks images
    alike.
    """
    return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32


@contextmanager
def moving_to(device: str | torch.device) -> Iterator[None]:
    """Turn what torch raises while a model is moved to a device into an error for the user.

    Raises:
        UsageError: if there is no such device or no room on it.
    """
    try:
        yield
    except (AssertionError, RuntimeError) as error:  # torch asserts that it was built for a device
        raise UsageError(f"device {str(device)!r} cannot be used: {error}") from error


def _mps_works() -> bool:
    if not torch.backends.mps.is_available():
        return False
    try:
        # Virtual Macs report a GPU that then has no memory to give.
        torch.zeros(1, device="mps")
    except RuntimeError:
        return False
    return True
