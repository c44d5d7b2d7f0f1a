"""The text tower of an ONNX directory in fastembed, as a model that its user adds."""

import numpy as np
import pytest

from tests.ecosystems.conftest import SavedOnnx
from tests.helpers.onnx_files import assert_near

NAME = "local/longclip"
TEXTS = ["a red boat", "two old dogs on a bridge at dusk, and nobody else", "", "dog " * 400]


def test_texts_have_the_same_embeddings(saved_onnx: SavedOnnx) -> None:
    library = pytest.importorskip("fastembed")
    described = pytest.importorskip("fastembed.common.model_description")
    library.TextEmbedding.add_custom_model(
        model=NAME,
        # What the file gives are embeddings, of which nothing is to be made.
        pooling=described.PoolingType.DISABLED,
        normalization=False,
        sources=described.ModelSource(hf=NAME),
        dim=24,
        model_file="onnx/text_model.onnx",
    )
    theirs = library.TextEmbedding(NAME, specific_model_path=str(saved_onnx.onnx))
    model = saved_onnx.model
    ids = model.token_ids(TEXTS, warn=False)
    assert_near(np.stack(list(theirs.embed(TEXTS))), model.encode_text(ids))
