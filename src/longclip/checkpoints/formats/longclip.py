"""Long-CLIP's own checkpoints: OpenAI's names and two position tables.

The published code adds both tables to the tokens, each multiplied by a mask that is no part of the
checkpoint: rows 0 to 19 count from `positional_embedding`, which training left alone, the others
from `positional_embedding_res`, which it moved. Both are stored whole and either fits a model, so a
conversion that takes the first alone loses what training did, and nothing shows it.
"""

import torch

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import infer_config
from longclip.checkpoints.formats import openai
from longclip.errors import CheckpointError
from longclip.spec import KEEP

FROZEN, TRAINED = "positional_embedding", "positional_embedding_res"


def recognise(source: Source) -> bool:
    """Return whether it is a file with the second position table."""
    return TRAINED in source.tensors or f"text.{TRAINED}" in source.tensors


def open(source: Source) -> Checkpoint:
    """Read a state dict, with the two tables folded into the one that they act as.

    Both tables stay in the checkpoint's `extras`, so that an audit can tell them apart.

    Raises:
        CheckpointError: if the tables have different shapes or there are tensors of no CLIP.
    """
    path = source.path
    tensors = openai.plain_names(path, source.tensors)
    extras = {name: tensors[name] for name in (FROZEN, TRAINED) if name in tensors}
    if len(extras) < 2:
        raise CheckpointError(f"{path} has {TRAINED} without {FROZEN}; a Long-CLIP has both")
    frozen, trained = extras.values()
    if frozen.shape != trained.shape or frozen.ndim != 2:
        raise CheckpointError(
            f"{path}: {FROZEN} is {list(frozen.shape)} and {TRAINED} {list(trained.shape)}; "
            "the two tables of a Long-CLIP have one shape"
        )
    del tensors[TRAINED]
    tensors[FROZEN] = torch.cat([frozen[:KEEP], trained[KEEP:]])
    found = openai.rename(path, tensors)
    config = infer_config(path, found, source.activation or "quick_gelu")
    notes = (f"rows from {KEEP} on are those of {TRAINED}",)
    return Checkpoint(path, (path,), "Long-CLIP", config, found, notes=notes, extras=extras)
