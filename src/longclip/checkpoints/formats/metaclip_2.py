"""MetaCLIP 2 as transformers saves it (`model_type: metaclip_2`), whole or one tower.

It is a CLIP in all names and in all that is computed, with the vocabulary and the tokenizer of
another model (XLM-V's, or mT5's). A text is read at the first token with the id of its end, which
need not be the largest as in CLIP's vocabulary.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longclip.checkpoints.fields import TEXT, VISION, WHOLE, check_fields, refuse_other_fields
from longclip.errors import CheckpointError, UsageError

LAYOUT = "metaclip_2"
MODEL_TYPES = {
    LAYOUT: "clip",
    "metaclip_2_text_model": "clip_text_model",
    "metaclip_2_vision_model": "clip_vision_model",
}
"""Its kinds of models, and those of CLIP that have the same names."""

# Of transformers, where they are others than CLIP's.
_TEXT_DEFAULTS = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}


def describe(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json of MetaCLIP 2 in this package's words.

    Raises:
        CheckpointError: if it describes something else, naming the field.
    """
    kind = MODEL_TYPES[config["model_type"]]
    described = dict(config)
    try:
        if kind == "clip":
            refuse_other_fields(config, WHOLE)
            described["text_config"] = _text(config.get("text_config") or {}, "text_config")
            described["vision_config"] = _vision(config.get("vision_config") or {}, "vision_config")
        elif kind == "clip_text_model":
            described = _text(config, "")
        else:
            described = _vision(config, "")
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return {**described, "model_type": kind, "layout": LAYOUT, "own": {"config.json": dict(config)}}


def _text(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    check_fields(values, TEXT, section)
    refuse_other_fields(values, {**TEXT, **WHOLE}, section)
    return {**_TEXT_DEFAULTS, **values, "pooling": "eos"}


def _vision(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    check_fields(values, VISION, section)
    refuse_other_fields(values, {**VISION, **WHOLE}, section)
    return dict(values)
