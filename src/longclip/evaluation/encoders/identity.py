"""What makes two encoders the same: weights, architecture, and what they make of inputs.

The weights are hashed whole, as they are in memory. SHA-256 runs at 1.7 GB/s and processor, so a
model of 10 GB on two processors takes 3 s, less than reading it took. Sizes and times of files
would be faster, but a file that is written again in place with the same size, or a copy that
keeps its time, would be taken for what it is not; and the same weights in another place or format
would be embedded anew.

Tokenizers and image processors have settings in too many places to list, so their behaviour is
taken: the tokens of some texts and the pixels of a picture that settings change.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image

_TEXTS = [
    "",
    "  A photo of 3 Cafés, “quoted” &amp; it's OK!  \n№ 5 … ﬁn 日本 🐕 UPPER snake_case-dash ",
    "word " * 1000 + "end",
]


def fingerprint(
    module: torch.nn.Module,
    settings: Mapping[str, Any],
    tokenize: Callable[[list[str]], Any],
    prepare: Callable[[Image.Image], Any] | None,
) -> str:
    """A name for everything that an embedding depends on.

    Args:
        module: its weights and buffers, its device and the classes and sizes it prints.
        settings: whatever else matters: configuration, versions of libraries.
        tokenize: texts to tensors, arrays, lists and mappings of those.
        prepare: a picture to the same; None where there is no way to get at it.
    """
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    names = sorted(tensors)
    with ThreadPoolExecutor() as pool:
        weights = list(pool.map(lambda name: _digest(tensors[name]), names))
    device = next((tensor.device.type for tensor in tensors.values()), "")
    whole = {
        "weights": [[name, digest] for name, digest in zip(names, weights, strict=True)],
        "module": repr(module),
        "device": device,
        "settings": settings,
        "tokens": _digests(tokenize(_TEXTS)),
        "pixels": _digests(prepare(_picture())) if prepare else None,
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _picture() -> Image.Image:
    """Wide, with edges and slopes: its pixels change with size, crop, filter, mean and range."""
    y, x = np.mgrid[:300, :500]
    channels = [x * 255 // 499, y * 255 // 299, (x // 7 + y // 11) % 2 * 255]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def _digests(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _digests(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [_digests(part) for part in value]
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value.copy())
    return _digest(value) if isinstance(value, torch.Tensor) else value


def _digest(tensor: torch.Tensor) -> str:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    head = f"{tensor.dtype} {list(tensor.shape)} "
    return head + hashlib.sha256(content.data).hexdigest()
