"""ONNX files made of torch modules, written one tensor at a time."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from longclip.errors import CheckpointError

OPSET = 18
"""Version of ONNX's operators: the newest that torch writes without converting, and older than any
runtime in use."""

MAX_FILE_BYTES = 2_000_000_000
"""Size from which weights go into a file of their own: protobuf ends at 2 GiB."""

EXTERNAL = "_data"
"""End of the name of that file, after the model's, as transformers.js expects it."""

_NOISY = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")


def write_onnx(
    path: Path,
    graph: nn.Module,
    example: Tensor,
    *,
    input_name: str,
    output_name: str,
    dynamic: Mapping[int, str],
    longest: int | None = None,
    metadata: Mapping[str, str],
) -> tuple[Path, ...]:
    """Export a module of one input and one output.

    Args:
        path: of the file.
        graph: its `forward` takes one tensor; its weights are read as they are written.
        example: an input, no dynamic dimension of which is 1.
        input_name: in the file.
        output_name: in the file.
        dynamic: names of the dimensions of the input that may have any size, by their places.
        longest: greatest size of the last of those.
        metadata: of the model.

    Returns:
        The files that were written: that one, and where the weights are more than it holds,
        another beside it.

    Raises:
        CheckpointError: if torch cannot export the module.
    """
    sizes = {place: torch.export.Dim(name) for place, name in dynamic.items()}
    if longest is not None:
        last = max(dynamic)
        sizes[last] = torch.export.Dim(dynamic[last], max=longest)
    with _quiet():
        try:
            program = torch.onnx.export(
                graph.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=(sizes,) if sizes else None,
                verbose=False,
            )
        except Exception as error:  # whatever torch meets in another library's code
            reason = str(error).strip().splitlines()
            raise CheckpointError(
                f"{path.name} cannot be made: torch {torch.__version__} does not export this tower "
                f"({type(error).__name__}{': ' if reason else ''}{reason[0] if reason else ''}); "
                "another version of it, or of the library whose tower it is, may"
            ) from error
    assert program is not None
    model: Any = program.model
    # Where each step stands in the source, with paths of this machine.
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    inner = [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in [*inner, *model.graph.initializers.values()]:
        # torch calls values after their operators, `embedding` among them.
        if value.name in (input_name, output_name) and not value.is_graph_output():
            value.name += "_inner"
    model.metadata_props.clear()
    model.metadata_props.update(metadata)
    model.producer_name, model.producer_version = "longclip", metadata["longclip.version"]
    return _write(path, model)


def _write(path: Path, model: Any) -> tuple[Path, ...]:
    """Write a model, in one file where it fits."""
    import onnx
    import onnx_ir

    weights = {name: value.const_value for name, value in model.graph.initializers.items()}
    if sum(tensor.nbytes for tensor in weights.values()) > MAX_FILE_BYTES:
        external = path.name + EXTERNAL
        onnx_ir.save(model, path, external_data=external)
        return path, path.with_name(external)
    # Serialised whole, the weights would be in memory twice more: in the message and as its bytes.
    values = dict(model.graph.initializers)
    model.graph.initializers.clear()
    rest = onnx_ir.to_proto(model)
    model.graph.initializers.update(values)
    steps = rest.graph.SerializeToString()
    rest.ClearField("graph")
    heads = {name: _tensor_head(onnx, name, tensor) for name, tensor in weights.items()}
    length = len(steps) + sum(
        len(_field(onnx.GraphProto, "initializer", len(heads[name]) + tensor.nbytes))
        + len(heads[name])
        + tensor.nbytes
        for name, tensor in weights.items()
    )
    with path.open("wb") as file:
        file.write(rest.SerializeToString())
        file.write(_field(onnx.ModelProto, "graph", length) + steps)
        for name, tensor in weights.items():
            head = heads[name]
            file.write(_field(onnx.GraphProto, "initializer", len(head) + tensor.nbytes) + head)
            _write_bytes(file, tensor)
    return (path,)


def _tensor_head(onnx: Any, name: str, tensor: Any) -> bytes:
    """Return a TensorProto up to where its numbers begin."""
    head = onnx.TensorProto(name=name, data_type=int(tensor.dtype), dims=tuple(tensor.shape))
    serialized: bytes = head.SerializeToString()
    return serialized + _field(onnx.TensorProto, "raw_data", tensor.nbytes)


def _field(message: Any, name: str, length: int) -> bytes:
    """Return how protobuf announces a field of that many bytes."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    return _varint(number << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def _write_bytes(file: IO[bytes], tensor: Any) -> None:
    numbers = tensor.tobytes()
    assert len(numbers) == tensor.nbytes
    file.write(numbers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch's exporter says of itself; its errors are raised."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
