"""Which device a model runs on, and which numbers it computes with."""

import torch


def pick_device(name: str) -> str:
    """Return the device that `name` stands for.

    Args:
        name: `auto` for CUDA, else MPS where it works, else the CPU; any other name is returned as
            it is, and refused where a model is placed on it.
    """
    if name != "auto":
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


def _mps_works() -> bool:
    if not torch.backends.mps.is_available():
        return False
    try:
        # Virtual Macs report a GPU that then has no memory to give.
        torch.zeros(1, device="mps")
    except RuntimeError:
        return False
    return True
