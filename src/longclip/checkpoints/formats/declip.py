"""DeCLIP's checkpoints: two towers under names of their own, among the heads of its training.

Its vocabulary has one token more than CLIP's, a mask at 49,406 that pushes begin and end of text up
by one. CLIP's tokenizer never makes it, so without that row the vocabulary is CLIP's.
"""

from dataclasses import replace

import torch

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import infer_config
from longclip.checkpoints.formats import openai
from longclip.errors import CheckpointError

_MASK = 49_406
_VOCABULARY = 49_409
_TEXT = "encode_text."

# Heads and memories of losses, which only training used.
_HEADS = ("projector", "predictor", "text_label_predictor", "nn_replacer", "queue", "mlm", "ssl")

_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

BIAS = "text_projection.bias"
"""Name of the tensor that DeCLIP has and a stock CLIP has no place for."""

_WEIGHT, _NORM = "text_projection.weight", "text_model.final_layer_norm.bias"
# Share of the bias that may be left: rounding to float32 leaves less.
_TOLERANCE = 1e-5


def recognise(source: Source) -> bool:
    """Return whether it is a file with DeCLIP's names of tensors."""
    return any(name.startswith(_TEXT) for name in source.tensors)


def open(source: Source) -> Checkpoint:
    """Read a checkpoint of DeCLIP's training.

    Raises:
        CheckpointError: if it has tensors that are neither of a CLIP nor of a head.
    """
    tensors, heads = {}, 0
    for name, tensor in source.tensors.items():
        short = name.removeprefix(_TEXT)
        if short.startswith(_HEADS):
            heads += 1
            continue
        if short == "text_projection.weight" and tensor.ndim == 2:
            short, tensor = "text_projection", tensor.T
        elif short == "token_embedding.weight" and tensor.shape[:1] == (_VOCABULARY,):
            # The rows behind the mask's move up by one, to where CLIP's ids of begin and end point.
            tensor = torch.cat([tensor[:_MASK], tensor[_MASK + 1 :]])
        tensors[short] = openai.scalar(tensor) if short == "logit_scale" else tensor
    notes = ["the mask token's row was taken out of the vocabulary, which is CLIP's own then"]
    if heads:
        notes.append(f"{heads} tensors of training heads are left out")
    found = openai.rename(source.path, tensors)
    config = infer_config(source.path, found, "quick_gelu")
    size = config.get("vision_config", config).get("image_size")
    preprocess = {
        "image_mean": _IMAGENET_MEAN,
        "image_std": _IMAGENET_STD,
        "size": size,
        "crop_size": size,
    }
    path = source.path
    return Checkpoint(
        path, (path,), "DeCLIP", config, found, preprocess if size else None, tuple(notes)
    )


def fold_bias(checkpoint: Checkpoint) -> Checkpoint:
    """Move the bias b of a text projection W into the final layer norm's, where that is exact.

    The projection reads g·z + c, and W(g·z + c) + b = W(g·z + c + d) for any d with Wd = b.
    There is one wherever b lies in the column space of W, which a joint space wider than the tower
    (DeCLIP's is six times as wide) leaves to chance.

    Raises:
        CheckpointError: if there is none.
    """
    if BIAS not in checkpoint.tensors:
        return checkpoint
    bias, weight = (checkpoint.tensors[name].double() for name in (BIAS, _WEIGHT))
    # By singular values (gelsd): the projection may be of lower rank, and of all shifts that serve
    # this gives the smallest.
    shift = torch.linalg.lstsq(weight, bias[:, None], driver="gelsd").solution[:, 0]
    left = float((weight @ shift - bias).norm() / bias.norm().clamp(min=1e-30))
    if left > _TOLERANCE:
        raise CheckpointError(
            f"{checkpoint.path} has a bias in its text projection (DeCLIP's has), for which a "
            f"stock CLIP has no place, and {left:.0%} of it fits into no other weight: its texts "
            "would be embedded elsewhere. Use it from Python (longclip.load and longclip.save keep "
            "the bias)"
        )
    norm = checkpoint.tensors[_NORM]
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name != BIAS}
    tensors[_NORM] = (norm.double() + shift).to(norm.dtype)
    config = {k: value for k, value in checkpoint.config.items() if k != "text_projection_bias"}
    note = "the bias of the text projection was moved into the final layer norm's: embeddings stay"
    return replace(checkpoint, config=config, tensors=tensors, notes=(*checkpoint.notes, note))
