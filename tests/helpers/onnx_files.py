"""ONNX files as a program without longclip would run them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def run_onnx(path: Path, batch: Tensor | Array) -> Array:
    """Return the first output for the one input, checked to be float32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    rows: Array = session.run(None, {given.name: np.asarray(batch)})[0]
    assert rows.dtype == np.float32
    return rows


def assert_near(found: Array, expected: Tensor | Array, share: float = 1e-4) -> None:
    """Rows differ by no more than that share of their length."""
    expected = torch.as_tensor(expected).detach().numpy()
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert found.shape == expected.shape
    assert np.linalg.norm((found - expected) / lengths, axis=1).max() <= share


def interface(path: Path) -> dict[str, tuple[str, list[int | str]]]:
    """Return type and shape of every input and output by its name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return {v.name: (v.type, v.shape) for v in [*session.get_inputs(), *session.get_outputs()]}
