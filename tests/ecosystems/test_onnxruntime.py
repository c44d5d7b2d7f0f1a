"""ONNX files in onnxruntime, with the tokens and the pixels that transformers makes."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.ecosystems.conftest import SavedOnnx
from tests.helpers.onnx_files import assert_near

TEXTS = ["a red boat", "two old dogs on a bridge at dusk, and nobody else", "", "dog " * 400]
LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"]


def session(saved: SavedOnnx, name: str, level: str) -> Any:
    library = pytest.importorskip("onnxruntime")
    options = library.SessionOptions()
    options.graph_optimization_level = getattr(library.GraphOptimizationLevel, level)
    path = saved.onnx / "onnx" / name
    return library.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("level", LEVELS)
@torch.inference_mode()
def test_it_gives_what_transformers_gives(saved_onnx: SavedOnnx, level: str) -> None:
    """The export brings tokenizer and preprocessing; transformers computes the saved weights."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPModel.from_pretrained(saved_onnx.directory).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved_onnx.onnx)
    given = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert given.input_ids.shape == (4, 248)
    text = session(saved_onnx, "text_model.onnx", level)
    [rows] = text.run(["text_embeds"], {"input_ids": given.input_ids.numpy()})
    assert_near(rows, theirs.get_text_features(**given).pooler_output)

    processor = transformers.AutoImageProcessor.from_pretrained(saved_onnx.onnx)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    pixels = processor(Image.fromarray(noise), return_tensors="pt").pixel_values
    image = session(saved_onnx, "vision_model.onnx", level)
    [rows] = image.run(["image_embeds"], {"pixel_values": pixels.numpy()})
    assert_near(rows, theirs.get_image_features(pixels).pooler_output)


@pytest.mark.parametrize("level", LEVELS)
def test_8_bits_at_any_level_of_optimisation(saved_onnx: SavedOnnx, level: str) -> None:
    """What is fused there computes what the plain operators do."""
    model = saved_onnx.model
    ids = model.token_ids(TEXTS, warn=False)
    text = session(saved_onnx, "text_model_quantized.onnx", level)
    assert_near(text.run(None, {"input_ids": ids.numpy()})[0], model.encode_text(ids), 5e-2)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    image = session(saved_onnx, "vision_model_quantized.onnx", level)
    rows = image.run(None, {"pixel_values": pixels.numpy()})[0]
    assert_near(rows, model.encode_image(pixels), 5e-2)
