"""FG-CLIP (Xie et al., ICML 2025): a CLIP that reads long texts in another way than short ones.

Its layout is that of transformers' CLIPModel, with `text_model.embeddings.position_embedding` of 77
rows and `text_projection` for short texts, and for long ones `position_embedding_ori` (rows 0 to
19), `position_embedding_res` (the others, as in Long-CLIP) and `text_filip_projection` (published
code, `walk_short_pos`). A CLIP has one path, so it is the long one that is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.errors import CheckpointError
from longclip.spec import KEEP, POSITION_TABLE

_FROZEN = "text_model.embeddings.position_embedding_ori.weight"
_TRAINED = "text_model.embeddings.position_embedding_res.weight"
_PROJECTION = "text_filip_projection.weight"
_BUFFERS = ("position_embedding_mask", "embeddings.mask1", "embeddings.mask2")


def fold_long_path(
    path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]:
    """Return the configuration and the tensors of the long path as a plain CLIP's, and a note.

    What is no FG-CLIP comes back as it is.

    Raises:
        CheckpointError: if a part of the long path is missing or of another shape.
    """
    if _TRAINED not in tensors:
        return dict(config), dict(tensors), ()
    missing = [name for name in (_FROZEN, _PROJECTION) if name not in tensors]
    if missing:
        raise CheckpointError(f"{path} has {_TRAINED} without {', '.join(missing)}")
    frozen, trained = tensors[_FROZEN], tensors[_TRAINED]
    if frozen.shape != trained.shape or frozen.ndim != 2:
        raise CheckpointError(
            f"{path}: {_FROZEN} is {list(frozen.shape)} and {_TRAINED} {list(trained.shape)}; the "
            "two tables have one shape"
        )
    folded = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in (_FROZEN, _TRAINED, _PROJECTION) and not name.endswith(_BUFFERS)
    }
    folded[POSITION_TABLE] = torch.cat([frozen[:KEEP], trained[KEEP:]])
    folded["text_projection.weight"] = tensors[_PROJECTION]
    text = {**config.get("text_config", {}), "max_position_embeddings": len(trained)}
    note = (
        "the path of FG-CLIP for long texts was taken; its position table and projection for short "
        "texts and regions are left out"
    )
    return {**config, "text_config": text}, folded, (note,)
