"""Numbers, names and choices of CLIP and Long-CLIP that several packages need, each stated once."""

from typing import Literal

BOS = 49406
"""Begin of text in CLIP's vocabulary (Radford et al., 2021)."""

EOT = 49407
"""End of text in CLIP's vocabulary, its last id; the text tower pools there."""

SPECIAL_TOKENS = 2
"""Tokens of a context that are not the text's own: begin and end."""

STOCK_CONTEXT = 77
"""Tokens that a stock CLIP reads, begin and end among them (Radford et al., 2021, section 2.4)."""

LONG_CONTEXT = 248
"""Tokens that a Long-CLIP reads (Zhang et al., ECCV 2024, section 3.2): 20 + 4 · (77 − 20)."""

KEEP = 20
"""First positions that stretching keeps (Long-CLIP, section 3.2); CLIP uses few others well."""

POSITION_TABLE = "text_model.embeddings.position_embedding.weight"
"""The text tower's position table [L, D] among Hugging Face's names of weights."""

Tower = Literal["text", "image"]
"""One of a CLIP's two encoders."""

Activation = Literal["quick_gelu", "gelu"]
"""OpenAI's weights were trained with x · σ(1.702 x), later ones with GELU; files rarely say it."""

ExportTarget = Literal["hf", "hf-text", "openai", "openclip", "comfyui"]
"""Programs whose layout a checkpoint can be written in."""

StretchMethod = Literal["knowledge-preserved", "linear"]
"""The paper's stretching (section 3.2), and plain interpolation, which it compares with."""

ShortTexts = Literal["given", "first-sentence", "without-first"]
"""Which short text stands beside a long one in training (Long-CLIP's supplement; debiasing)."""

Task = Literal["long", "short", "zero-shot"]
"""What an encoder is measured on: retrieval by long or short texts, or classification."""

Overflow = Literal["chunk", "warn"]
"""What becomes of a prompt beyond its encoder's context: read in windows, or cut with a warning."""
