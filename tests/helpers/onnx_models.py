"""Models as directories of ONNX files, float32 and 8 bit."""

import shutil
from pathlib import Path

import longclip
from longclip.export import export_onnx
from longclip.model import CLIP


def write_onnx_model(model: CLIP, folder: Path) -> Path:
    """Write a model as `longclip convert --to onnx` does."""
    weights = folder.with_name(f"{folder.name}-weights")
    longclip.save(model, weights)
    export_onnx(weights, folder)
    return folder


def with_int8(folder: Path, new: Path) -> Path:
    """Return a copy of a directory with its files in 8 bit alone."""
    from onnxruntime.quantization import quantize_dynamic

    shutil.copytree(folder, new)
    for tower in ("text_model", "vision_model"):
        whole, quantized = (new / "onnx" / f"{tower}{end}" for end in (".onnx", "_quantized.onnx"))
        quantize_dynamic(whole, quantized, op_types_to_quantize=["MatMul", "Gemm"])
        change_metadata(quantized, {"longclip.precision": "int8"})
        whole.unlink()
    return new


def change_metadata(path: Path, changes: dict[str, str | None]) -> None:
    """Change what an ONNX file says of itself; None takes an entry out."""
    import onnx

    model = onnx.load(path)
    entries = {one.key: one.value for one in model.metadata_props} | changes
    del model.metadata_props[:]
    for key, value in entries.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
