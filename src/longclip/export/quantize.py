"""ONNX files of 8 bits, made of those of float32.

Weights of matrix products have one scale per output, and 7 of the 8 bits: processors without VNNI
add pairs of products in 16 bits, which overflow with weights of 8 and activations of 8. What is not
a product with weights stays float32 (LayerNorm, softmax, attention's own products), and so do the
first and the last product of an image tower, its patches and its projection.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip.errors import CheckpointError
from longclip.export.onnx_writer import EXTERNAL, MAX_FILE_BYTES

_BATCH = 16
"""Pictures at once of which ranges are taken."""

_TOKENS = "token_embedding.weight"


def quantize_text(source: Path, path: Path) -> None:
    """Write a text tower whose activations get their range batch by batch.

    Texts differ too much in length and content for ranges that are fixed beforehand. Of the table
    of tokens, half of a small tower, each row has a scale of its own.

    Args:
        source: the file of float32.
        path: of the new one.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet(source):
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=_lies_beside(source),
            extra_options={"MatMulConstBOnly": True},
        )
        _finish(path, _quantize_tokens)


def quantize_images(source: Path, path: Path, pixels: NDArray[np.float32]) -> None:
    """Write an image tower whose activations have the ranges that they take on some pictures.

    Args:
        source: the file of float32.
        path: of the new one.
        pixels: [N, 3, H, W], normalised.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        """Batches of pictures, one after another."""

        def __init__(self) -> None:
            self.batches = iter(np.split(pixels, range(_BATCH, len(pixels), _BATCH)))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"pixel_values": batch}

    graph = onnx.load(source, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    weighted = [node.name for node in products if node.input[1] in stored]
    left = {node.name for node in products} - set(weighted[1:-1])
    with _quiet(source):
        quantize_static(
            source,
            path,
            Pictures(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=sorted(left),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=_lies_beside(source),
        )
        _finish(path, lambda graph: None)


def _lies_beside(source: Path) -> bool:
    return source.with_name(source.name + EXTERNAL).exists()


def _finish(path: Path, change: Any) -> None:
    """Change the graph of a file, and have its metadata say what it is."""
    import onnx

    model = onnx.load(path)
    for beside in path.parent.glob(f"{path.name}?data"):  # as onnxruntime names it
        beside.unlink()
    change(model.graph)
    for entry in model.metadata_props:
        if entry.key == "longclip.precision":
            entry.value = "int8"
    model.producer_name = "longclip"
    if model.ByteSize() > MAX_FILE_BYTES:
        onnx.save(model, path, save_as_external_data=True, location=path.name + EXTERNAL)
    else:
        onnx.save(model, path)


def _quantize_tokens(graph: Any) -> None:
    """Replace the table of tokens by one of 8 bits and a scale for each row."""
    from onnx import TensorProto, helper, numpy_helper

    [table] = [tensor for tensor in graph.initializer if tensor.name == _TOKENS]
    [place] = [i for i, node in enumerate(graph.node) if _TOKENS in node.input]
    lookup = graph.node[place]
    weights = numpy_helper.to_array(table)
    largest = np.abs(weights).max(axis=1, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    rows = np.rint(weights / scales).astype(np.int8)
    ids, output = lookup.input[1], lookup.output[0]
    names = [f"{_TOKENS}_{part}" for part in ("quantized", "scale", "row", "number", "row_scale")]
    quantized, scale, row, number, row_scale = names
    steps = [
        helper.make_node("Gather", [quantized, ids], [row], name="node_token_rows"),
        helper.make_node("Cast", [row], [number], name="node_token_numbers", to=TensorProto.FLOAT),
        helper.make_node("Gather", [scale, ids], [row_scale], name="node_token_scales"),
        helper.make_node("Mul", [number, row_scale], [output], name="node_tokens"),
    ]
    graph.initializer.remove(table)
    graph.initializer.append(numpy_helper.from_array(rows, quantized))
    graph.initializer.append(numpy_helper.from_array(scales, scale))
    graph.node.remove(lookup)
    for step in reversed(steps):
        graph.node.insert(place, step)


@contextlib.contextmanager
def _quiet(source: Path) -> Iterator[None]:
    """Keep back what onnxruntime prints of its own; name the file where it fails."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except (OSError, MemoryError):  # a full disk is no fault of the library's
        raise
    except Exception as error:  # it raises what Python does
        raise CheckpointError(
            f"{source.name} cannot be made one of 8 bits by this version of onnxruntime: {error}"
        ) from error
    finally:
        logging.disable(disabled)
