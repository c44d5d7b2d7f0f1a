"""Models for other runtimes: ONNX files, checked against the model that they were made of."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.export.onnx_directory import Export as Export
    from longclip.export.onnx_directory import export_onnx as export_onnx
    from longclip.export.recall import Int8 as Int8

export_lazily(__name__)
