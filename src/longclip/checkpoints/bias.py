"""A text projection's bias, for which a stock CLIP has no place."""

from dataclasses import replace

import torch

from longclip.checkpoints.checkpoint import Checkpoint
from longclip.errors import CheckpointError

BIAS = "text_projection.bias"
_WEIGHT, _NORM = "text_projection.weight", "text_model.final_layer_norm.bias"
# Of the bias: what rounding to float32 leaves.
_TOLERANCE = 1e-5


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
