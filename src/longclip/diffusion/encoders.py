"""Text encoders of a pipeline with more positions, as the stock transformers modules they are.

A new encoder is a copy of the pipeline's own module, never one built anew: whatever has been put
into it (LoRA layers, tokens of textual inversion), its dtype and its device stay.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longclip.errors import UsageError
from longclip.model.clip import CLIP
from longclip.model.pretrained import load
from longclip.model.stretch import stretch_table
from longclip.spec import KEEP

_POSITIONS = "embeddings.position_embedding.weight"

# Where peft keeps the weights of a layer that it has put a LoRA on.
_UNDER_LORA = "base_layer."


def text_tower(encoder: Any) -> Any:
    """Return the transformer inside a transformers text encoder.

    CLIPTextModel was one module around it up to transformers 5.5; it is flat since. A
    CLIPTextModelWithProjection has it as `text_model` in all versions.
    """
    return getattr(encoder, "text_model", encoder)


def positions(encoder: Any) -> int:
    """Return the number of tokens that a text encoder reads."""
    return int(text_tower(encoder).embeddings.position_embedding.weight.shape[0])


def lengthened(encoder: Any, context_length: int, keep: int = KEEP) -> Any:
    """Return a text encoder that reads `context_length` tokens, without any training.

    Its position table is stretched (`longclip.stretch`; Long-CLIP, section 3.2), as the paper does
    for SDXL's second encoder. All other weights are shared with `encoder`, so that it takes no
    memory of its own but the table's.

    Args:
        encoder: a transformers CLIPTextModel or CLIPTextModelWithProjection; left as it is.
        context_length: its new number of positions.
        keep: how many first positions stay bit for bit.

    Returns:
        An encoder of the same class; `encoder` itself if it is that long already.

    Raises:
        UsageError: if it has more positions already, or `keep` does not fit.
    """
    if positions(encoder) == context_length:
        return encoder
    longer = _sharing_copy(encoder)
    table = text_tower(encoder).embeddings.position_embedding.weight.detach()
    _set_positions(longer, stretch_table(table, context_length, keep=keep))
    return longer


def replaced(encoder: Any, clip: CLIP, context_length: int, keep: int = KEEP) -> Any:
    """Return a pipeline's text encoder with the weights of a CLIP, `context_length` tokens long.

    A CLIP of fewer positions is stretched. Where the pipeline's encoder has fewer layers than the
    CLIP, the last ones are left out: SD 2's directory does so with its 24th. Added tokens
    (textual inversion) and LoRA layers of the pipeline's encoder stay.

    Args:
        encoder: a transformers CLIPTextModel or CLIPTextModelWithProjection; left as it is.
        clip: has a text tower of the same shape.
        context_length: its new number of positions.
        keep: how many first positions stay bit for bit if the CLIP is stretched.

    Returns:
        An encoder of the same class, with the dtype and device of `encoder`.

    Raises:
        UsageError: if the CLIP does not fit; the message names the differences.
    """
    _check_fit(encoder, clip)
    layers = len(text_tower(encoder).encoder.layers)
    kept = tuple(f"encoder.layers.{number}." for number in range(layers))
    weights = {
        name: weight.detach()
        for name, weight in clip.text_model.named_parameters()
        if not name.startswith("encoder.layers.") or name.startswith(kept)
    }
    table = weights.pop(_POSITIONS)
    if len(table) != context_length:
        table = stretch_table(table, context_length, keep=keep)
    longer = _sharing_copy(encoder)
    tower = text_tower(longer)
    for name, old in list(tower.named_parameters()):
        new = weights.get(name.replace(_UNDER_LORA, ""))
        if new is not None:
            _set(tower, name, _like(old, new))
    if hasattr(longer, "text_projection"):
        projection = clip.text_projection.get_parameter("weight")
        _set(longer, "text_projection.weight", _like(longer.text_projection.weight, projection))
    _set_positions(longer, table.to(tower.embeddings.position_embedding.weight, copy=True))
    return longer


ClipSource = str | Path | CLIP
"""A CLIP, or the name of one as `longclip.load` takes it."""


def load_text_tower(source: ClipSource) -> CLIP:
    """Return a CLIP, of which only the text tower is loaded where it is named.

    Raises:
        UsageError: if it has no text tower.
        LongCLIPError: as `longclip.load`.
    """
    if not isinstance(source, CLIP):
        return load(source, dtype=None, tower="text")
    if source.config.text is None:
        raise UsageError("the given CLIP is an image tower alone; give one with a text tower")
    return source


def fused_layers(encoder: Any) -> set[str]:
    """Return the names of the layers into whose weights peft has fused a LoRA."""
    return {name for name, module in encoder.named_modules() if getattr(module, "merged", False)}


def _sharing_copy(encoder: Any) -> Any:
    """Return a copy of a module that has the same parameters, not equal ones."""
    shared: dict[int, Any] = {id(parameter): parameter for parameter in encoder.parameters()}
    longer = copy.deepcopy(encoder, shared)
    # transformers adds tokens by growing this parameter where it lies; the other encoder, with the
    # old number of tokens in its configuration, could then not be loaded after saving.
    tokens = text_tower(longer).embeddings.token_embedding
    tokens.weight = _parameter(tokens.weight.detach(), tokens.weight)
    return longer


def _set_positions(encoder: Any, table: Tensor) -> None:
    tower = text_tower(encoder)
    embedding = tower.embeddings.position_embedding
    embedding.weight = _parameter(table, embedding.weight)
    embedding.num_embeddings = len(table)
    ids = torch.arange(len(table), device=table.device).expand((1, -1))
    tower.embeddings.register_buffer("position_ids", ids, persistent=False)
    # Modules of one encoder may each hold the configuration, or a copy of it.
    for module in encoder.modules():
        config = getattr(module, "config", None)
        if config is not None:
            config.max_position_embeddings = len(table)


def _set(module: Any, name: str, tensor: Tensor) -> None:
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    setattr(owner, last, _parameter(tensor, getattr(owner, last)))


def _parameter(tensor: Tensor, old: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=old.requires_grad)


def _like(old: Tensor, new: Tensor) -> Tensor:
    """Return `new` like `old`: dtype, device, rows that only `old` has; in memory of its own."""
    result = old.detach().clone()
    result[: len(new)] = new.detach()
    return result


def _check_fit(encoder: Any, clip: CLIP) -> None:
    """Refuse a CLIP of another shape, and encoders that cannot be given other weights."""
    config, text = encoder.config, clip.config.text
    assert text
    same = {
        "width": "hidden_size",
        "inner width": "intermediate_size",
        "heads": "num_attention_heads",
        "activation": "hidden_act",
    }
    pairs = {word: (getattr(text, key), getattr(config, key)) for word, key in same.items()}
    differences = [f"{word} {new}, not {old}" for word, (new, old) in pairs.items() if new != old]
    if text.reads_padding:
        differences.append("padding that is read, not ignored")
    if text.num_hidden_layers < config.num_hidden_layers:
        differences.append(f"layers {text.num_hidden_layers}, not {config.num_hidden_layers}")
    rows = text_tower(encoder).embeddings.token_embedding.weight.shape[0]
    # Without files of its own, one with as many tokens is the pipeline's.
    own = clip.tokenizer_files
    if own and (own.readable or text.vocab_size != rows):
        differences.append("a tokenizer of its own, not CLIP's")
    if text.vocab_size > rows:
        differences.append(f"tokens {text.vocab_size}, not {rows}")
    if hasattr(encoder, "text_projection"):
        expected, found = encoder.text_projection.out_features, clip.config.projection_dim
        if found != expected or clip.config.text_projection_bias:
            bias = " with a bias" if clip.config.text_projection_bias else ""
            differences.append(f"projection {found}{bias}, not {expected}")
    if differences:
        raise UsageError(
            f"this CLIP's text tower does not fit the pipeline's {type(encoder).__name__}: "
            f"{'; '.join(differences)}. Give a model of the same text architecture (SD 1.x and "
            "SDXL's first encoder: ViT-L/14 of OpenAI; SD 2.x: OpenCLIP's ViT-H/14; SDXL's second: "
            "OpenCLIP's ViT-bigG/14)"
        )
    if not all(parameter.is_floating_point() for parameter in encoder.parameters()):
        raise UsageError(
            "the pipeline's text encoder is quantized, and other weights cannot be put into it; "
            "load the pipeline with an unquantized one"
        )
    if fused_layers(encoder):
        raise UsageError(
            "a LoRA is fused into the pipeline's text encoder and would be lost with its weights; "
            "call pipeline.unfuse_lora() first"
        )
