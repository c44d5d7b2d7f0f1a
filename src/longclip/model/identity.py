"""Hashes by which stored embeddings know their model, and by which weight files are known.

There are two hashes of a model, because what is stored goes by either of them and has to go on
matching. A database of images may be filled in bfloat16 on one machine and searched in float32 on
another, so `model_digest` rounds the weights first. A cache of embeddings must give back exactly
what would be computed, so `encoder_fingerprint` changes with the precision, the device and the
versions of libraries, and serves other libraries' models as well.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from longclip.model.clip import CLIP
from longclip.model.digest import digest, embedding_settings
from longclip.util.terminal import SILENT, OnProgress

_HASHING = "hashing, MB"
MEGABYTE = 1_000_000
_CHUNK = 1 << 24
_TEXTS = [
    "",
    "  A photo of 3 Cafés, “quoted” &amp; it's OK!  \n№ 5 … ﬁn 日本 🐕 UPPER snake_case-dash ",
    "word " * 1000 + "end",
]


def files_sha256(files: Sequence[Path], on_progress: OnProgress = SILENT) -> str:
    """Return the SHA-256 of the files' concatenated bytes, hexadecimal.

    Args:
        files: in the order in which they are read.
        on_progress: gets the megabytes that have been read.

    Raises:
        OSError: if a file cannot be read.
    """
    digest = hashlib.sha256()
    total, done = sum(file.stat().st_size for file in files), 0
    on_progress(_HASHING, 0, total // MEGABYTE)
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(_CHUNK):
                digest.update(block)
                done += len(block)
                on_progress(_HASHING, done // MEGABYTE, total // MEGABYTE)
    return digest.hexdigest()


def model_digest(model: CLIP) -> str:
    """Return the SHA-256 of all that a model's embeddings depend on, weights rounded to bfloat16.

    It is the same in whatever precision the weights were loaded, in whatever layout they are saved
    and however the files beside them are written.

    Raises:
        CheckpointError: if the model's own tokenizer is missing or broken.
    """
    settings = embedding_settings(model.config, model.preprocess, model.tokenizer_files)
    return digest(settings, map(_in_bfloat16, sorted(model.state_dict().items())))


def _in_bfloat16(named: tuple[str, torch.Tensor]) -> tuple[str, list[int], Iterator[Any]]:
    name, tensor = named

    def bits() -> Iterator[Any]:
        rounded = tensor.detach().to("cpu", torch.bfloat16).contiguous()
        yield rounded.reshape(-1).view(torch.uint8).numpy().data

    return name, list(tensor.shape), bits()


def encoder_fingerprint(
    module: torch.nn.Module,
    settings: Mapping[str, Any],
    tokenize: Callable[[list[str]], Any],
    prepare: Callable[[Image.Image], Any] | None,
) -> str:
    """Return a SHA-256 of everything that an embedding of any library's model depends on.

    The weights are hashed whole, as they are in memory. SHA-256 runs at 1.7 GB/s and processor, so
    a model of 10 GB on two processors takes 3 s, less than reading it took. Sizes and times of
    files would be faster, but a file that is written again in place with the same size, or a copy
    that keeps its time, would be taken for what it is not; and the same weights in another place or
    format would be embedded anew.

    Tokenizers and image processors have settings in too many places to list, so their behaviour is
    taken: the tokens of some texts and the pixels of a picture that settings change.

    Args:
        module: its weights and buffers, its device and the classes and sizes it prints count.
        settings: whatever else matters: configuration, versions of libraries.
        tokenize: texts to tensors, arrays, lists and mappings of those.
        prepare: a picture to the same; None where there is no way to get at it.
    """
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    names = sorted(tensors)
    with ThreadPoolExecutor() as pool:
        weights = list(pool.map(lambda name: _tensor_digest(tensors[name]), names))
    device = next((tensor.device.type for tensor in tensors.values()), "")
    whole = {
        "weights": [[name, digest] for name, digest in zip(names, weights, strict=True)],
        "module": repr(module),
        "device": device,
        "settings": settings,
        "tokens": _digests(tokenize(_TEXTS)),
        "pixels": _digests(prepare(_test_picture())) if prepare else None,
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _test_picture() -> Image.Image:
    """Return a wide picture with edges and slopes.

    Its pixels change with size, crop, filter, mean and range.
    """
    y, x = np.mgrid[:300, :500]
    channels = [x * 255 // 499, y * 255 // 299, (x // 7 + y // 11) % 2 * 255]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def _digests(value: Any) -> Any:
    """Replace every tensor and array in nested lists and mappings by its digest."""
    if isinstance(value, Mapping):
        return {str(key): _digests(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [_digests(part) for part in value]
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value.copy())
    return _tensor_digest(value) if isinstance(value, torch.Tensor) else value


def _tensor_digest(tensor: torch.Tensor) -> str:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    head = f"{tensor.dtype} {list(tensor.shape)} "
    return head + hashlib.sha256(content.data).hexdigest()
