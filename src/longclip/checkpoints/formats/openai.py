"""OpenAI's checkpoints, and their names of tensors, which OpenCLIP, Long-CLIP and DeCLIP share.

What differs from Hugging Face's beside the names: queries, keys and values are one matrix, and the
two projections are stored as [width, joint] where a linear layer has [joint, width]. Renaming only
makes views, either way: no number is touched, so there and back again is bit-identical, and nothing
is read before it is used.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import infer_config
from longclip.checkpoints.tensor_files import NUMBERS
from longclip.errors import CheckpointError
from longclip.spec import POSITION_TABLE

_PLAIN = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": POSITION_TABLE,
    "text_projection.bias": "text_projection.bias",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
_IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TOWERS = {
    "transformer": "text_model.encoder",
    "visual.transformer": "vision_model.encoder",
}
_QKV = ("q_proj", "k_proj", "v_proj")
_LAYER = re.compile(r"(transformer|visual\.transformer)\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_FUSED = re.compile(r"(transformer|visual\.transformer)\.resblocks\.(\d+)\.attn\.in_proj_(\w+)")
_HF_LAYER = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
# The numbers say nothing that shapes do not; the mask is that of causal attention.
_IGNORED = NUMBERS | {"attn_mask"}


def recognise(source: Source) -> bool:
    """Return whether it is a file with OpenAI's numbers beside the tensors."""
    return not NUMBERS.isdisjoint(source.tensors)


def open(source: Source) -> Checkpoint:
    """Read a TorchScript archive or a state dict of OpenAI's.

    Raises:
        CheckpointError: if its image tower is no ViT, or it has tensors of no CLIP.
    """
    tensors = rename(source.path, plain_names(source.path, source.tensors))
    config = infer_config(source.path, tensors, source.activation or "quick_gelu")
    return Checkpoint(source.path, (source.path,), "OpenAI", config, tensors)


def plain_names(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a file's tensors as OpenAI names and shapes them, without what is no weight.

    OpenCLIP's models may have `text.` before the names of the text tower, a projection that is a
    linear layer, and a temperature of one dimension.

    Raises:
        CheckpointError: if the image tower is a ResNet or one of timm's, or it is Apple's file.
    """
    if "text_encoder.embedding_layer.weight" in tensors:
        raise CheckpointError(
            f"{path} is a MobileCLIP in the layout of Apple's own code, which is not read; the "
            "same model is published in OpenCLIP's (timm/MobileCLIP2-S0-OpenCLIP and others on the "
            "hub)"
        )
    if any(name.startswith(("visual.layer1.", "visual.trunk.")) for name in tensors):
        raise CheckpointError(
            f"{path} has a ResNet or timm image tower, which bare weights do not describe; put its "
            "open_clip_config.json beside it"
        )
    prefix = "text." if any(name.startswith("text.transformer.") for name in tensors) else ""
    plain = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(prefix)
        if short in _IGNORED:
            continue
        if short == "text_projection.weight" and tensor.ndim == 2:
            short, tensor = "text_projection", tensor.T
        plain[short] = scalar(tensor) if short == "logit_scale" else tensor
    return plain


def scalar(tensor: Tensor) -> Tensor:
    """Return a tensor of one number without dimensions, and any other as it is."""
    return tensor.reshape(()) if tensor.numel() == 1 else tensor


def rename(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that have OpenAI's names under Hugging Face's.

    Raises:
        CheckpointError: if some have names of no CLIP.
    """
    found, unknown = to_huggingface(tensors)
    if unknown:
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise CheckpointError(
            f"{path} has tensors that are no part of a CLIP: {', '.join(unknown[:10])}{more}; "
            "if it is a CLIP of another kind, convert it to Hugging Face's layout first"
        )
    return found


def to_huggingface(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return tensors under Hugging Face's names, and the names that mean nothing here."""
    found: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in tensors.items():
        if name in _PLAIN:
            found[_PLAIN[name]] = tensor
        elif name in _TRANSPOSED and tensor.ndim == 2:
            found[_TRANSPOSED[name]] = tensor.T
        elif (match := _FUSED.fullmatch(name)) and tensor.ndim and len(tensor) % len(_QKV) == 0:
            tower, layer, kind = match.groups()
            prefix = f"{_TOWERS[tower]}.layers.{layer}.self_attn"
            for part, rows in zip(_QKV, tensor.chunk(len(_QKV)), strict=True):
                found[f"{prefix}.{part}.{kind}"] = rows
        elif (match := _LAYER.fullmatch(name)) and match[3] in _IN_LAYER:
            tower, layer, part, kind = match.groups()
            found[f"{_TOWERS[tower]}.layers.{layer}.{_IN_LAYER[part]}.{kind}"] = tensor
        else:
            unknown.append(name)
    return found, unknown


def from_huggingface(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors under OpenAI's names; the inverse of `to_huggingface`.

    Queries, keys and values are joined whenever they are asked for and not kept, so that a model of
    any size can be written with one such matrix in memory.
    """
    return _OpenAINames(tensors)


class _OpenAINames(Mapping[str, Tensor]):
    """View of tensors with Hugging Face's names under OpenAI's."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._sources = dict(_sources(tensors))

    def __getitem__(self, name: str) -> Tensor:
        parts = [self._tensors[source] for source in self._sources[name]]
        if name in _TRANSPOSED:
            return parts[0].T
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def _sources(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield OpenAI's names, each with those of the tensors that it consists of."""
    alone = {hf: name for name, hf in (_PLAIN | _TRANSPOSED).items()}
    in_layer = {hf: name for name, hf in _IN_LAYER.items()}
    towers = {hf.partition(".")[0]: name for name, hf in _TOWERS.items()}
    for name in tensors:
        if name in alone:
            yield alone[name], (name,)
            continue
        match = _HF_LAYER.fullmatch(name)
        assert match, f"{name} is no part of a CLIP"
        tower, layer, part, kind = match.groups()
        block = f"{towers[tower]}.resblocks.{layer}"
        if part in in_layer:
            yield f"{block}.{in_layer[part]}.{kind}", (name,)
        elif part == f"self_attn.{_QKV[0]}":
            prefix = name.removesuffix(f"{_QKV[0]}.{kind}")
            yield f"{block}.attn.in_proj_{kind}", tuple(f"{prefix}{q}.{kind}" for q in _QKV)


class _Modules(nn.Module):
    """Modules without code that hold tensors under dotted names, as TorchScript stores them."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        inner: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                inner.setdefault(first, {})[rest] = tensor
            elif first in NUMBERS:
                self.register_buffer(first, tensor)
            else:
                self.register_parameter(first, nn.Parameter(tensor, requires_grad=False))
        for name, parts in inner.items():
            self.add_module(name, _Modules(parts))


def write_archive(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a TorchScript archive without code, the layout of OpenAI's releases.

    OpenAI's `clip.load` reads a state dict in no version that opens the file itself: after the
    failed attempt at an archive it goes on in the middle of the file.
    """
    with warnings.catch_warnings():
        # TorchScript is not developed any more; it is what OpenAI's code reads.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(_Modules(tensors)), str(path))
