"""DeCLIP's checkpoints: two towers under names of their own, among the heads of its training.

Its vocabulary has one token more than CLIP's, a mask at 49,406 that pushes begin and end of text up
by one. CLIP's tokenizer never makes it, so without that row the vocabulary is CLIP's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MASK = 49_406
VOCABULARY = 49_409
_TEXT = "encode_text."

# What only training used: other losses' heads and memories.
_HEADS = ("projector", "predictor", "text_label_predictor", "nn_replacer", "queue", "mlm", "ssl")

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PREPROCESS: dict[str, Any] = {"image_mean": IMAGENET[0], "image_std": IMAGENET[1]}


def is_declip(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are its names."""
    return any(name.startswith(_TEXT) for name in tensors)


def to_openai(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """OpenAI's names, and the names of the heads, which are left out."""
    found, heads = {}, []
    for name, tensor in tensors.items():
        short = name.removeprefix(_TEXT)
        if short.startswith(_HEADS):
            heads.append(name)
            continue
        if short == "text_projection.weight":
            short, tensor = "text_projection", tensor.T
        elif short == "token_embedding.weight" and len(tensor) == VOCABULARY:
            tensor = torch.cat([tensor[:MASK], tensor[MASK + 1 :]])
        found[short] = tensor.reshape(()) if short == "logit_scale" else tensor
    return found, heads
