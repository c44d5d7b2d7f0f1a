"""Numbers, names and choices of CLIP and Long-CLIP that several packages need, each stated once."""

from typing import Literal

BOS = 49406
"""Id of begin of text in CLIP's vocabulary, the last but one (OpenAI's simple_tokenizer.py)."""

EOT = 49407
"""Id of end of text in CLIP's vocabulary, the last; the text tower pools there (same source)."""

SPECIAL_TOKENS = 2
"""Number of tokens of a context that are not the text's own: begin and end."""

STOCK_CONTEXT = 77
"""Number of tokens that a stock CLIP reads (Radford et al., 2021, code; section 2.4 says 76)."""

LONG_CONTEXT = 248
"""Number of tokens that a Long-CLIP reads (Zhang et al., 2024, section 3.2): 20 + 4 · (77 − 20)."""

RATIO = 4
"""New positions for each old one that is not kept, in that."""

LEAST_LONG_CONTEXT = 128
"""Number of tokens to which a model is lengthened at least: of 32 (PE-Core), RATIO would leave 68,
fewer than a long description has; our own choice."""

STOCK_CONTEXTS = (STOCK_CONTEXT, 72, 64, 32)
"""Numbers of tokens that models are published with: CLIP, PE-Core G, SigLIP, other PE-Core."""

MAX_CONTEXT = 16_384
"""Greatest number of tokens that a model may read: 66 times Long-CLIP's, our own bound."""

KEEP = 20
"""Number of first positions that stretching keeps (section 3.2); CLIP trained few others well."""

POSITION_TABLE = "text_model.embeddings.position_embedding.weight"
"""The text tower's position table [L, D] among Hugging Face's names of weights."""

MAX_WORKERS = 256
"""Processes or threads that decode pictures, at most: thousands would fill any machine's memory."""

MAX_PIXELS = 100_000_000
"""Width times height of the largest image that is decoded: 300 MB of pixels, our own bound."""

Tower = Literal["text", "image"]
"""One of a CLIP's two encoders."""

Activation = Literal["quick_gelu", "gelu", "gelu_pytorch_tanh"]
"""The hidden layers' function: x · σ(1.702 x) in OpenAI's weights, GELU in most later ones, and in
SigLIP's its approximation by tanh."""

Pooling = Literal["eos", "argmax", "last", "first"]
"""The place at which a text is read: its first end-of-text token, its largest id (OpenAI's code),
the last place of the context, padding or not (SigLIP), or the first (a class token)."""

Layout = Literal["clip", "metaclip_2", "siglip", "open_clip"]
"""The layout that a model is saved in: transformers' by its `model_type`, or OpenCLIP's."""

ImageTowerOwner = Literal["transformers", "open_clip"]
"""A library whose image tower a model holds as it is."""

ExportTarget = Literal["hf", "hf-text", "openai", "longclip", "openclip", "comfyui"]
"""Names of the layouts that a checkpoint can be written in, after the programs that read them."""

RuntimeTarget = Literal["onnx", "immich"]
"""Names of the layouts of ONNX files that a model can be exported in."""

AnyTarget = Literal[ExportTarget, RuntimeTarget]
"""Names of all layouts that `longclip convert` writes."""

OnnxPrecision = Literal["float32", "float16", "int8"]
"""Numbers that an ONNX file computes with."""

ONNX_FOLDER = "onnx"
"""Folder of the ONNX files in a model directory, as transformers.js has it."""

ONNX_ENDINGS: dict[OnnxPrecision, str] = {
    "float32": ".onnx",
    "float16": "_fp16.onnx",
    "int8": "_quantized.onnx",
}
"""Ends of the names of ONNX files, as transformers.js has them."""

CALIBRATION_PICTURES = 128
"""Pictures that the ranges of an int8 image tower are taken of: some dozens fix them."""

MAX_RECALL_LOSS = 1.0
"""Points of recall@1 that int8 may lose unless told otherwise."""

ONNX_TOWERS: dict[Tower, str] = {"text": "text_model", "image": "vision_model"}
"""Beginnings of those names."""

Engine = Literal["auto", "torch", "onnx", "openvino"]
"""Names of what computes a model."""

StretchMethod = Literal["knowledge-preserved", "linear"]
"""The paper's stretching (section 3.2), and plain interpolation, which it compares with."""

ShortTexts = Literal["given", "first-sentence", "without-first", "sentences"]
"""Choice of the short text beside a long one in training (Long-CLIP's supplement; debiasing)."""

LongTexts = Literal["whole", "subsampled", "shuffled"]
"""Choice of the sentences of a long text that a training step reads."""

Task = Literal["long", "short", "zero-shot", "choice"]
"""Measurement of an encoder: retrieval by long or by short texts, classification, or the choice of
the caption that fits among some that nearly do."""

Overflow = Literal["chunk", "warn"]
"""Treatment of a prompt beyond its encoder's context: read in windows, or cut with a warning."""
