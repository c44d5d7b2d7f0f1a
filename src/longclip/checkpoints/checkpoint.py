"""A checkpoint in memory, under Hugging Face's names whatever format it was read from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from longclip.errors import CheckpointError
from longclip.spec import Tower

# Of transformers, for a config.json that does not say it.
_DEFAULT_PROJECTION_DIM = 512
_SECTIONS = {"text": "text", "image": "vision"}
_PROJECTIONS = {"text": "text_projection.", "image": "visual_projection."}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Configuration, tensors and origin of a CLIP or of one of its towers.

    Attributes:
        path: of the file or directory.
        files: that the weights were read from.
        format: name of its layout: Hugging Face, OpenAI, Long-CLIP, OpenCLIP or DeCLIP.
        config: in the words of Hugging Face's config.json.
        tensors: under Hugging Face's names, mapped into memory from the file where it allows that.
        preprocess: content of preprocessor_config.json, where the checkpoint has preprocessing.
        notes: sentences on what was changed or left out in reading.
        extras: tensors that the model does not use but an audit may want, by their own names.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    preprocess: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def has(self, tower: Tower) -> bool:
        """Return whether there is a tower of that kind."""
        return any(name.startswith(f"{_SECTIONS[tower]}_model.") for name in self.tensors)


def lone_tower(checkpoint: Checkpoint, tower: Tower) -> Checkpoint:
    """Return one tower with its projection, as the model of its own that transformers too knows.

    The other tower's weights are left in the file.

    Raises:
        CheckpointError: if there is no such tower.
    """
    if not checkpoint.has(tower):
        raise CheckpointError(f"{checkpoint.path} has no {tower} tower")
    name, config = _SECTIONS[tower], checkpoint.config
    if f"{name}_config" not in config:
        return checkpoint
    alone = {
        **{key: value for key, value in config[f"{name}_config"].items() if key != "architectures"},
        **{key: config[key] for key in ("text_projection_bias",) if key in config},
        "architectures": [f"CLIP{name.capitalize()}ModelWithProjection"],
        "model_type": f"clip_{name}_model",
        "projection_dim": config.get("projection_dim", _DEFAULT_PROJECTION_DIM),
    }
    if tower == "text":
        alone["max_length"] = alone["max_position_embeddings"]
    prefixes = (f"{name}_model.", _PROJECTIONS[tower])
    return replace(
        checkpoint,
        config=alone,
        tensors={n: t for n, t in checkpoint.tensors.items() if n.startswith(prefixes)},
        preprocess=checkpoint.preprocess if tower == "image" else None,
    )
