"""What holds of the protocol, whatever computes the embeddings."""

import importlib
import subprocess
import sys

import longclip.encoders
import longclip.evaluation


def test_the_protocol_is_there_without_torch():
    code = """
import sys
import numpy as np
from longclip.encoders.encoder import checked_rows, tokenizer_of

class Ones:
    context_length = 5
    def encode_text(self, texts): return np.ones((len(texts), 3))
    encode_image = encode_text

rows = checked_rows(Ones(), Ones().encode_text("ab"), ["a", "b"])
assert rows.dtype == np.float32 and rows.shape == (2, 3)
assert tokenizer_of(Ones()) is not None
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_former_names():
    former = importlib.import_module("longclip.evaluation.encoders")
    for name in ("CLIPEncoder", "PrecomputedEncoder", "open_encoder"):
        assert getattr(former, name) is getattr(longclip.encoders, name)
    assert longclip.evaluation.Encoder is longclip.encoders.Encoder
    assert longclip.evaluation.open_encoder is longclip.encoders.open_encoder
    assert former.export_inputs is longclip.evaluation.export_inputs
