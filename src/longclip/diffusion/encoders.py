"""A pipeline's text encoders with more positions, as the stock transformers modules they are.

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
from longclip.model.config import TextConfig
from longclip.model.pretrained import load
from longclip.model.stretch import stretch_table
from longclip.spec import KEEP

_TOKENS = "embeddings.token_embedding.weight"
_POSITIONS = "embeddings.position_embedding.weight"

# Where peft keeps the weights of a layer that it has put a LoRA on.
_UNDER_LORA = "base_layer."


def text_tower(encoder: Any) -> Any:
    """The transformer inside a transformers text encoder.

    CLIPTextModel was one module around it up to transformers 5.5; it is flat since. A
    CLIPTextModelWithProjection has it as `text_model` in all versions.
    """
    return getattr(encoder, "text_model", encoder)


def positions(encoder: Any) -> int:
    """How many tokens a text encoder reads."""
    return int(text_tower(encoder).embeddings.position_embedding.weight.shape[0])


def lengthened(encoder: Any, context_length: int, keep: int = KEEP) -> Any:
    """A text encoder that reads `context_length` tokens, without any training.

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
        ValueError: if it has more positions already, or `keep` does not fit.
    """
    if positions(encoder) == context_length:
        return encoder
    longer = _sharing_copy(encoder)
    table = text_tower(encoder).embeddings.position_embedding.weight.detach()
    _set_positions(longer, stretch_table(table, context_length, keep=keep))
    return longer


def replaced(encoder: Any, source: CLIP, context_length: int, keep: int = KEEP) -> Any:
    """A pipeline's text encoder with the weights of a CLIP, `context_length` tokens long.

    A source of fewer positions is stretched. Where the pipeline's encoder has fewer layers than
    the source, the last ones are left out: SD 2's directory does so with its 24th. Added tokens
    (textual inversion) and LoRA layers of the pipeline's encoder stay.

    Args:
        encoder: a transformers CLIPTextModel or CLIPTextModelWithProjection; left as it is.
        source: a CLIP with a text tower of the same shape.
        context_length: its new number of positions.
        keep: how many first positions stay bit for bit if the source is stretched.

    Returns:
        An encoder of the same class, with the dtype and device of `encoder`.

    Raises:
        ValueError: if the source does not fit; the message says what is different.
    """
    _check_fit(encoder, source)
    weights = _tower_weights(encoder, source)
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
        projection = source.text_projection.get_parameter("weight")
        _set(longer, "text_projection.weight", _like(longer.text_projection.weight, projection))
    _set_positions(longer, table.to(tower.embeddings.position_embedding.weight, copy=True))
    return longer


def open_source(source: str | Path | CLIP) -> CLIP:
    """The text tower of a CLIP that is given, or named as for `longclip.load`.

    Raises:
        ValueError: if it has no text tower, or as `longclip.load`.
    """
    if not isinstance(source, CLIP):
        return load(source, dtype=None, tower="text")
    if source.config.text is None:
        raise UsageError("the given CLIP is an image tower alone; give one with a text tower")
    return source


def fused_layers(encoder: Any) -> set[str]:
    """Names of the layers into whose weights peft has fused a LoRA."""
    return {name for name, module in encoder.named_modules() if getattr(module, "merged", False)}


def _sharing_copy(encoder: Any) -> Any:
    """A copy of a module with the same parameters, not equal ones."""
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
    """`new` in dtype and place of `old`, in memory of its own, with rows that only `old` has."""
    result = old.detach().clone()
    result[: len(new)] = new.detach()
    return result


def _tower_weights(encoder: Any, source: CLIP) -> dict[str, Tensor]:
    """The source's weights by name, but those of layers that the encoder leaves out."""
    layers = len(text_tower(encoder).encoder.layers)
    last = tuple(f"encoder.layers.{number}." for number in range(layers))
    return {
        name: tensor.detach()
        for name, tensor in source.text_model.named_parameters()
        if not name.startswith("encoder.layers.") or name.startswith(last)
    }


def _check_fit(encoder: Any, source: CLIP) -> None:
    text = source.config.text
    assert text
    differences = _differences(encoder.config, text)
    rows = text_tower(encoder).embeddings.token_embedding.weight.shape[0]
    if text.vocab_size > rows:
        differences.append(f"tokens {text.vocab_size}, not {rows}")
    if hasattr(encoder, "text_projection"):
        expected, found = encoder.text_projection.out_features, source.config.projection_dim
        if found != expected or source.config.text_projection_bias:
            bias = " with a bias" if source.config.text_projection_bias else ""
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


def _differences(config: Any, text: TextConfig) -> list[str]:
    """What of a source's shape is not as in a pipeline's encoder."""
    same = {
        "width": "hidden_size",
        "inner width": "intermediate_size",
        "heads": "num_attention_heads",
        "activation": "hidden_act",
    }
    pairs = {word: (getattr(text, key), getattr(config, key)) for word, key in same.items()}
    found = [f"{word} {new}, not {old}" for word, (new, old) in pairs.items() if new != old]
    if text.num_hidden_layers < config.num_hidden_layers:
        found.append(f"layers {text.num_hidden_layers}, not {config.num_hidden_layers}")
    return found
