"""Which numbers a model computes fastest with."""

import torch


def fast_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """bfloat16 where the device has instructions for it, else float32.

    Its embeddings agree with float32's to about three digits, which ranks images alike; on
    processors without such instructions it is emulated, and slower.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if kind != "cpu":
        return torch.float32
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    has = any(getattr(torch.cpu, name, lambda: False)() for name in checks)
    return torch.bfloat16 if has else torch.float32
