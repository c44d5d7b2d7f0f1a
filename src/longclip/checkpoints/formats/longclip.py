"""Long-CLIP's own checkpoints: OpenAI's names and two position tables.

Rows 0 to 19 are read from `positional_embedding`, which training left alone, the others from
`positional_embedding_res`, which it moved.
"""

from pathlib import Path

import torch
from torch import Tensor

from longclip.errors import CheckpointError
from longclip.spec import KEEP

FROZEN, TRAINED = "positional_embedding", "positional_embedding_res"


def fold(path: Path, frozen: Tensor, trained: Tensor) -> Tensor:
    """The two tables [L, D] as the one they act as.

    Raises:
        CheckpointError: if they have different shapes.
    """
    if frozen.shape != trained.shape:
        raise CheckpointError(
            f"{path}: {FROZEN} is {list(frozen.shape)} and {TRAINED} {list(trained.shape)}; "
            "the two tables of a Long-CLIP have one shape"
        )
    return torch.cat([frozen[:KEEP], trained[KEEP:]])
