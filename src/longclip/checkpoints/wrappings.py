"""Wrappings that training programs and others put around the weights of a CLIP.

Weights lie under an entry of a checkpoint (`state_dict`, `model`), and their names begin with that
of the module they were part of (`module.`, `model.`, `cond_stage_model.transformer.`) or have the
name of a wrapper in them (`_orig_mod.`). What is taken away, and what is left out, is noted.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.checkpoints.tensor_files import NUMBERS
from longclip.errors import CheckpointError

# Where training programs keep the weights inside a checkpoint, and moving averages of them.
_ENTRIES = ("state_dict", "model_state_dict", "model", "module")
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
_MAX_NESTED = 4

# torch.compile, FSDP and activation checkpointing, DeepSpeed under Lightning.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))"
    r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)

# A weight that every tower has, by the names of each family, longer ones first; what stands before
# it in a name is the module that the CLIP was part of. Behind each, what the family calls a lone
# tower, which transformers 5 leaves out.
_ANCHORS = {
    "text_model.embeddings.token_embedding.weight": "",
    "vision_model.embeddings.class_embedding": "",
    "encode_text.token_embedding.weight": "",
    "text.token_embedding.weight": "",
    "embeddings.token_embedding.weight": "text_model.",
    "token_embedding.weight": "",
    "visual.class_embedding": "",
    "embeddings.class_embedding": "vision_model.",
}
# Fine-tunes whose linear layers learn each row's length and direction apart (GmP-CLIP).
_RADIUS, _DIRECTION = ".r", ".theta"
_PROJECTIONS = ("text_projection.", "visual_projection.", "logit_scale")
PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3")
"""Names of the text towers in a single-file diffusion checkpoint, as diffusers calls them."""


def unwrap(
    path: Path, values: Mapping[str, Any], part: str | None = None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a CLIP or a tower without what is around them, and notes on it.

    Args:
        path: where they come from, for messages.
        values: content of a checkpoint, by name.
        part: which of several text towers, one of `PARTS`.

    Raises:
        CheckpointError: if there are no tensors, or several CLIPs and `part` names none of them.
    """
    values, notes = _innermost(path, values)
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    tensors |= {n: torch.tensor(values[n]) for n in NUMBERS if type(values.get(n)) is int}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors, only {', '.join(list(values)[:5])}")
    wrappers = sorted({found[0] for name in tensors for found in _WRAPPERS.finditer(name)})
    if wrappers:
        tensors = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
        notes.append(f"{', '.join(wrappers)} was taken out of the names of tensors")
    prefix = _choose(path, _prefixes(tensors), part)
    if prefix:
        inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        left = len(tensors) - len(inside)
        notes.append(
            f"{prefix} was taken off the names of tensors"
            + (f"; {left} tensors that are not in it are left out" if left else "")
        )
        tensors = inside
    radii = [name for name in tensors if name.endswith(_RADIUS)]
    for name in radii:
        stem = name.removesuffix(_RADIUS)
        if stem + _DIRECTION in tensors:
            tensors[f"{stem}.weight"] = _plain(tensors.pop(name), tensors.pop(stem + _DIRECTION))
    if radii:
        notes.append("weights in geometric parametrisation (radius and direction) are plain again")
    for anchor, tower in _ANCHORS.items():
        if tower and anchor in tensors:
            tensors = {
                name if name.startswith(_PROJECTIONS) else tower + name: tensor
                for name, tensor in tensors.items()
            }
    return tensors, tuple(notes)


def _plain(radius: Tensor, direction: Tensor) -> Tensor:
    """Return the weight of a radius [out, 1] and a direction [out, in]: r · θ / ‖θ‖, by rows."""
    exact = direction.to(torch.promote_types(direction.dtype, torch.float32))
    length = exact.norm(dim=1, keepdim=True).clamp(min=1e-12)
    weight: Tensor = (radius.to(exact.dtype).reshape(-1, 1) * exact / length).to(direction.dtype)
    return weight


def _innermost(path: Path, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Return the entry of a training checkpoint that holds the weights."""
    notes = []
    for _ in range(_MAX_NESTED):
        there = [name for name in (*_ENTRIES, *_AVERAGES) if isinstance(values.get(name), Mapping)]
        if not there:
            break
        entry = there[0]
        if entry in _AVERAGES:
            notes.append(f"the weights are those of {entry}, a moving average")
        elif averages := [name for name in there if name in _AVERAGES]:
            notes.append(f"the moving average of the weights ({averages[0]}) is left out")
        values = {str(key): value for key, value in values[entry].items()}
    if "shadow_params" in values:
        raise CheckpointError(
            f"{path} holds a moving average without the names of its tensors (shadow_params); copy "
            "it into the model it was made of (ema.copy_to) and save that"
        )
    return values, notes


def _prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return what stands before the names of each CLIP or lone tower, in the order of `PARTS`."""
    prefixes = set()
    for name in tensors:
        for anchor in _ANCHORS:
            before = name.removesuffix(anchor)
            if before != name and (not before or before.endswith(".")):
                prefixes.add(before)
                break
    # CLIP-L is the first encoder of every pipeline with two.
    return sorted(prefixes, key=lambda prefix: ("clip_g" in prefix, prefix))


def _choose(path: Path, prefixes: list[str], part: str | None) -> str:
    """Return the prefix of the CLIP to take."""
    if part is not None:
        named = dict(zip(PARTS, prefixes, strict=False))
        if part in named:
            return named[part]
        there = ", ".join(f"{name} ({prefix})" for name, prefix in named.items()) or "no text tower"
        raise CheckpointError(f"{path} has no part {part!r}; it has {there}")
    plain = [prefix for prefix in prefixes if "ema" not in re.split(r"[._]", prefix)]
    prefixes = plain or prefixes
    if "" in prefixes or not prefixes:
        return ""
    if len(prefixes) > 1:
        towers = ", ".join(
            f"{path}/{name} ({prefix})" for name, prefix in zip(PARTS, prefixes, strict=False)
        )
        raise CheckpointError(f"{path} holds {len(prefixes)} CLIPs or towers; name one: {towers}")
    return prefixes[0]
