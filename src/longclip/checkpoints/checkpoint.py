"""What a checkpoint holds, under Hugging Face's names whatever it was read from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from longclip.errors import CheckpointError
from longclip.spec import Tower

_SECTIONS = {"text": "text", "image": "vision"}
_PROJECTIONS = {"text": "text_projection.", "image": "visual_projection."}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: the file or directory.
        files: the files that the weights were read from.
        format: whose layout it is: Hugging Face, OpenAI, Long-CLIP, OpenCLIP or DeCLIP.
        config: in the words of Hugging Face's config.json.
        tensors: by Hugging Face's names, mapped into memory from the file where it allows that.
        preprocess: preprocessor_config.json, where the checkpoint says how pictures become pixels.
        notes: what was done to it on the way, or left out, in words.
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
        """Whether there is a tower of that kind."""
        return any(name.startswith(f"{_SECTIONS[tower]}_model.") for name in self.tensors)


def lone_tower(checkpoint: Checkpoint, tower: Tower) -> Checkpoint:
    """One tower with its projection, as the model of its own that transformers too knows.

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
        "projection_dim": config["projection_dim"],
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
