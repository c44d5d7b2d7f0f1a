"""Averages of two models' weights: what fine-tuning gained, with less of what it forgot.

WiSE-FT (Wortsman et al. 2022): the weights of a fine-tuned model and of the one it started from
are mixed number by number. Fine-tuning stays close enough to its start for the models between the
two to work, and many of them are better than both: nearly as good as the tuned one at what it was
tuned for, nearly as good as the original elsewhere. It costs nothing at inference.
"""

import copy
from dataclasses import asdict
from typing import Any

import torch

from longclip.errors import UsageError
from longclip.model.clip import CLIP, check_model
from longclip.model.stretch import lengthen, stretch_table

# The number of positions is made equal; which ids begin and pad a text is the tokenizer's affair.
_MAY_DIFFER = {"max_position_embeddings", "bos_token_id", "pad_token_id"}


def average(tuned: CLIP, original: CLIP, share: float) -> CLIP:
    """Return a new model of weights (1 − share) · tuned + share · original.

    An original that reads fewer tokens is stretched first: knowledge-preserved, with as many
    positions kept as brings its table closest to the tuned one (none for a plainly interpolated
    table), since averaging asks for positions that mean the same in both.

    Args:
        tuned: the fine-tuned model; left as it is.
        original: what it was made from; left as it is.
        share: of the original, from 0 to 1.

    Returns:
        A model on the device and in the dtype of `tuned`, and with its preprocessing. Numbers are
        mixed in float32 at least; shares of 0 and 1 give the one or the other bit for bit.

    Raises:
        ValueError: if `share` is out of range, or the models are not of one shape.
    """
    check_model(tuned, "average")
    check_model(original, "average")
    if not 0 <= share <= 1:
        raise UsageError(f"the share of the original is {share}, must be from 0 to 1")
    _check_same_shape(tuned, original)
    if original.config.text and original.context_length < tuned.context_length:
        # The number of kept rows that brings the original's table closest to the tuned one.
        length = tuned.context_length
        ours, theirs = (
            model.text_model.embeddings.position_embedding.weight.detach().cpu().float()
            for model in (tuned, original)
        )
        distances = [
            float((stretch_table(theirs, length, keep=keep) - ours).norm())
            for keep in range(len(theirs) - 1)
        ]
        keep = distances.index(min(distances))
        original = lengthen(original, length, keep, "knowledge-preserved")
    mixed = copy.deepcopy(tuned)
    weights = original.state_dict()
    with torch.no_grad():
        for name, weight in mixed.state_dict().items():
            if not weight.is_floating_point():
                continue  # a count of batches, as another library's image tower has it
            # In half precision the two products would each be rounded before they are added.
            exact = torch.promote_types(weight.dtype, torch.float32)
            other = weights[name].to(weight.device, exact)
            weight.copy_((1 - share) * weight.to(exact) + share * other)
    return mixed


def _check_same_shape(tuned: CLIP, original: CLIP) -> None:
    mine, yours = _shape(tuned), _shape(original)
    differences = [
        f"{name} is {mine.get(name)} and {yours.get(name)}"
        for name in sorted(mine.keys() | yours.keys())
        if mine.get(name) != yours.get(name)
    ]
    if not differences and tuned.state_dict().keys() != original.state_dict().keys():
        differences = ["one has low-rank pairs that are not merged"]
    if differences:
        raise UsageError(
            "only a model and what it was fine-tuned from can be averaged; these two differ: "
            + "; ".join(differences)
        )
    if tuned.config.text and original.context_length > tuned.context_length:
        raise UsageError(
            f"the original reads {original.context_length} tokens and the tuned model "
            f"{tuned.context_length}; stretch the tuned one first: longclip stretch"
        )


def _shape(model: CLIP) -> dict[str, Any]:
    """Return everything that two models must have in common, by name.

    A tower that is missing has no entries.
    """
    config = model.config
    towers = {"text": config.text, "image": config.vision}
    return {
        f"{tower} {name}": value
        for tower, section in towers.items()
        for name, value in (asdict(section) if section else {}).items()
        if name not in _MAY_DIFFER
    } | {
        "projection_dim": config.projection_dim,
        "text_projection_bias": config.text_projection_bias,
        "preprocessing": model.preprocess if config.vision else None,
    }
