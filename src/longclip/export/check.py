"""Comparison of an exported tower, as onnxruntime computes it, with the model's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from longclip.errors import CheckpointError
from longclip.model.clip import CLIP
from longclip.spec import OnnxPrecision

Array = NDArray[Any]
Case = tuple[Array, Array]
"""A batch of inputs, and the model's embeddings of them, float32 [B, D]."""

TOLERANCE: dict[OnnxPrecision, float] = {"float32": 1e-4, "float16": 1e-2, "int8": 1.0}
"""Greatest difference from the model's embeddings, as a share of their length.

Each number of float16 is rounded by up to 5e-4 of it, that of float32 by 6e-8. Of int8 this only
tells that it is no other model's; what it costs, recall shows."""

_TEXTS = (
    "",
    "a photo of a cat",
    "two dogs run along a beach at dusk, and a child in a red coat follows them with a kite",
    "a long text of many words " * 500,
)
"""Empty, short, middle, and beyond any context."""

_PICTURES = 3


def open_session(path: Path) -> Any:
    """Open a file in onnxruntime, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_session(session: Any, batch: Array) -> Array:
    """Return the first output for the one input."""
    [given] = session.get_inputs()
    outputs: list[Array] = session.run(None, {given.name: batch})
    return outputs[0]


def text_cases(model: CLIP) -> list[Case]:
    """Return texts of all lengths up to the context, in one padded batch and each alone."""
    ids = model.token_ids(_TEXTS, warn=False)
    expected = model.encode_text(ids).numpy()
    alone = (model.token_ids(text, warn=False).numpy() for text in _TEXTS)
    return [(ids.numpy(), expected), *zip(alone, expected[:, None], strict=True)]


def padded_text_cases(model: CLIP) -> list[Case]:
    """Return the same texts one by one as int32, padded to the context length."""
    ids = model.token_ids(_TEXTS, warn=False)
    expected = model.encode_text(ids).numpy()
    missing = model.context_length - ids.shape[1]
    padded = F.pad(ids, (0, missing), value=model.pad_token_id).int().numpy()
    return list(zip(padded[:, None], expected[:, None], strict=True))


def image_cases(model: CLIP, *, together: bool = True) -> list[Case]:
    """Return pictures of noise, in one batch or one by one."""
    size = model.preprocess.image_size
    noise = np.random.default_rng(0).integers(0, 256, (_PICTURES, 3, size, size), dtype=np.uint8)
    pixels = model.preprocess.normalize(torch.from_numpy(noise))
    expected = model.encode_image(pixels).numpy()
    if together:
        return [(pixels.numpy(), expected)]
    return list(zip(pixels.numpy()[:, None], expected[:, None], strict=True))


def check_export(
    path: Path, cases: Sequence[Case], precision: OnnxPrecision, *, normalized: bool
) -> float:
    """Return the largest difference of a file's embeddings from a model's, by their length.

    Args:
        path: of the ONNX file.
        cases: what to embed.
        precision: of the file.
        normalized: whether its embeddings have length one.

    Raises:
        CheckpointError: if it is more than rounding explains, or the file cannot be run.
    """
    try:
        session = open_session(path)
        found = [run_session(session, batch) for batch, _ in cases]
    except Exception as error:  # onnxruntime's own have no class in common
        raise CheckpointError(
            f"{path.name} was written, and onnxruntime cannot run it: {error}; another version of "
            "torch, onnxscript or onnxruntime may do better"
        ) from error
    difference = 0.0
    for rows, (_, expected) in zip(found, cases, strict=True):
        if not np.isfinite(rows).all():
            raise CheckpointError(
                f"{path.name} gives embeddings that are not finite, and the model's own are: its "
                f"numbers become too large for {precision}; nothing was written. Take another "
                "--dtype"
            )
        lengths = np.linalg.norm(expected, axis=1, keepdims=True)
        directions = rows if normalized else rows / lengths
        apart = np.linalg.norm(directions - expected / lengths, axis=1)
        difference = max(difference, *apart.tolist())
    bound = TOLERANCE[precision]
    if difference > bound:
        raise CheckpointError(
            f"{path.name} does not compute what the model does: onnxruntime's embeddings differ by "
            f"{difference:.1e} of their length, and rounding explains {bound:.0e}; nothing was "
            "written. Another version of torch, onnxscript or onnxruntime may do better"
        )
    return difference
