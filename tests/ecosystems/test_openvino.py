"""ONNX files in OpenVINO, which compiles them for the processor it is on."""

from typing import Any

import numpy as np
import pytest
import torch

from longclip.encoders.openvino_encoder import openvino_core
from tests.ecosystems.conftest import SavedOnnx
from tests.helpers.onnx_files import assert_near

TEXTS = ["a red boat", "two old dogs on a bridge at dusk, and nobody else", "", "dog " * 400]


def compiled(saved: SavedOnnx, name: str) -> Any:
    pytest.importorskip("openvino")
    # Where the processor has a unit for bfloat16 it would be used.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino_core().compile_model(saved.onnx / "onnx" / name, "CPU", exact)


@pytest.mark.parametrize(("ending", "share"), [(".onnx", 1e-4), ("_quantized.onnx", 5e-2)])
def test_texts_and_pictures_have_the_same_embeddings(
    saved_onnx: SavedOnnx, ending: str, share: float
) -> None:
    model = saved_onnx.model
    text = compiled(saved_onnx, f"text_model{ending}")
    ids = model.token_ids(TEXTS, warn=False)
    expected = model.encode_text(ids)
    assert_near(np.array(text({"input_ids": ids.numpy()})["text_embeds"]), expected, share)
    alone = model.token_ids(TEXTS[0]).numpy()
    assert_near(np.array(text({"input_ids": alone})["text_embeds"]), expected[:1], share)

    image = compiled(saved_onnx, f"vision_model{ending}")
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = np.array(image({"pixel_values": pixels.numpy()})["image_embeds"])
    assert_near(rows, model.encode_image(pixels), share)
