"""Transcription of how clip-retrieval embeds a folder and makes its index.

From clip-retrieval 2.45 (`clip_inference`: reader, mapper, runner, writer; `clip_index`), all_clip
1.3 (its open_clip models) and autofaiss 2.18 (`build_index`), all MIT, with their defaults: batches
of 256, 4 processes that decode, float32 on a CPU, float16 in the file; an HNSW graph from 1,000
vectors on, within 4 GiB, searched as widely as 10 milliseconds allow. Only what images in a folder
need is here; of torchvision's transforms, what they do to a picture.

bfloat16 is not among what it does on a CPU; that contestant shows what it would gain.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

BATCH_SIZE, WORKERS = 256, 4
INDEX_BYTES, MOST_LINKS = 4 * 2**30, 32
QUERY_SECONDS, WIDEST = 0.010, 2**14
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def open_clip_model(directory: Path, dtype: torch.dtype) -> Any:
    """A directory in OpenCLIP's layout, in open_clip."""
    # open_clip imports image transforms from torchvision, none of which its networks use; our
    # environment has no torchvision, and a mock that answers to any name stands in for it.
    import transformers  # noqa: F401  (its own look for torchvision must not find the mock)

    for module in ("", ".transforms", ".transforms.functional", ".ops", ".ops.misc"):
        sys.modules[f"torchvision{module}"] = MagicMock()
    import open_clip  # type: ignore[import-untyped]

    return open_clip.create_model(f"local-dir:{directory}").to(dtype).eval()


class Images(Dataset[dict[str, Any]]):
    """The pictures of a folder as tensors, float32 [3, size, size]."""

    def __init__(self, folder: Path, size: int) -> None:
        self._files = sorted(folder.glob("**/*.jpg"), key=str)
        self._size = size
        self._mean, self._deviation = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, DEVIATION))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> dict[str, Any]:
        pixels = self._transform(Image.open(self._files[number]))
        return {"image_filename": str(self._files[number]), "image_tensor": pixels}

    def _transform(self, image: Image.Image) -> Tensor:
        """Resize the shorter side, crop the middle, and only then make it RGB."""
        size, (width, height) = self._size, image.size
        short = min(width, height)
        width, height = size * width // short, size * height // short
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - size) / 2), round((height - size) / 2)
        image = image.crop((left, top, left + size, top + size)).convert("RGB")
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub_(self._mean).div_(self._deviation)


@torch.no_grad()
def embed_folder(model: Any, folder: Path, dtype: torch.dtype) -> NDArray[np.float16]:
    """float16 [N, D], in the order of the files' names."""
    images = Images(folder, model.visual.image_size[0])
    parts = []
    for batch in DataLoader(images, BATCH_SIZE, num_workers=WORKERS, collate_fn=default_collate):
        features = model.encode_image(batch["image_tensor"].to(dtype))
        features /= features.norm(dim=-1, keepdim=True)
        parts.append(features.cpu().to(torch.float16).numpy())
    return np.concatenate(parts)


def build_index(vectors: NDArray[np.float16], place: Path) -> str:
    """Write the index that clip-retrieval has made of these vectors; its kind."""
    import faiss

    count, width = vectors.shape
    kind = _kind(count, width)
    index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    for start in range(0, count, 100_000):
        index.add(vectors[start : start + 100_000].astype(np.float32))
    wide = _breadth(index) if kind != "Flat" else None
    faiss.write_index(index, str(place))
    place.with_suffix(".json").write_text(json.dumps({"efSearch": wide}))
    return f"{kind}, efSearch {wide}" if wide else kind


def open_index(place: Path) -> Any:
    """Open an index as it was written, as widely searched as was found best."""
    import faiss

    index: Any = faiss.read_index(str(place))
    wide = json.loads(place.with_suffix(".json").read_text())["efSearch"]
    if wide:
        index.hnsw.efSearch = wide
    return index


def _kind(count: int, width: int) -> str:
    if count < 1_000:
        return "Flat"
    if count < 10_000:
        return "HNSW15"
    links = math.floor((INDEX_BYTES / (4 * count) - width) / 2)
    if links < 8:
        raise SystemExit(f"{count:,} vectors: autofaiss would quantize them; not transcribed")
    return f"HNSW{min(links, MOST_LINKS)}"


def _breadth(index: Any) -> int:
    """The largest efSearch with which queries stay within the time."""
    low, high = 16, WIDEST
    while low < high:
        middle = (low + high + 1) // 2
        index.hnsw.efSearch = middle
        if _seconds(index) < QUERY_SECONDS:
            low = middle
        else:
            high = middle - 1
    return low


def _seconds(index: Any) -> float:
    """Mean of single queries, for as long as 15 of them may take."""
    queries = index.reconstruct_n(0, min(index.ntotal, 4000))
    began = time.perf_counter()
    asked = 0
    while asked < len(queries) and time.perf_counter() - began < 15 * QUERY_SECONDS:
        index.search(queries[asked : asked + 1], 40)
        asked += 1
    return (time.perf_counter() - began) / asked
