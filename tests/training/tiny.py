"""A training run that takes a second."""

import json
from pathlib import Path

from longclip.training import TrainConfig
from longclip.training.recipes import paper

CONFIG = {
    "projection_dim": 16,
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    },
}


def tiny_config(photos: Path, out: Path, recipe: TrainConfig | None = None) -> TrainConfig:
    """The paper's recipe on a few made-up photos, from random weights."""
    from dataclasses import replace

    scratch = out.parent / "architecture.json"
    scratch.write_text(json.dumps(CONFIG))
    return replace(
        recipe or paper(),
        scratch=str(scratch),
        data=(str(photos),),
        out=out,
        steps=5,
        batch_size=8,
        lr=1e-3,
        pcm_components=4,
        workers=0,
        log_every=1,
        checkpoint_every=2,
    )
