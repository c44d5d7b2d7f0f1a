"""The towers of a CLIP in the form that is exported: plain functions of tensors.

They compute what `longclip.model` computes, without what a graph has no use for: checks of the
input, micro-batches, choices between kernels.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longclip.model.clip import CLIP
from longclip.model.config import ForeignVisionConfig
from longclip.model.image_tower import ForeignImageTower
from longclip.model.transformer import Encoder, Layer, VisionTower
from longclip.spec import Activation


class TextGraph(nn.Module):
    """Text tower from token ids, whole numbers [B, L], to embeddings, float32 [B, D].

    A text is read at its own end, whatever stands behind that, so a batch may be padded with
    anything; one without an end has it in place of its last token. Where the model reads padding,
    ids are padded to its context length here.

    Args:
        model: with a text tower; its weights are shared, not copied.
        normalize: divide each embedding by its length.
    """

    def __init__(self, model: CLIP, *, normalize: bool) -> None:
        super().__init__()
        assert model.config.text
        self.config = model.config.text
        self.normalize = normalize
        tower = model.text_model
        self.token_embedding = tower.embeddings.token_embedding
        self.position_embedding = tower.embeddings.position_embedding
        self.end = _end(model)
        self.layers = _layers(tower.encoder, self.config.hidden_act)
        self.final_layer_norm = tower.final_layer_norm
        self.projection = _projection(model.text_projection)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed token ids."""
        config, ids = self.config, input_ids
        context = config.max_position_embeddings
        if config.reads_padding and ids.shape[1] != context:
            # Padded by a whole context and cut: how long the input is is not known yet.
            ids = F.pad(ids, (0, context), value=config.pad_token_id)[:, :context]
        batch, length = ids.shape
        places = torch.arange(length)
        if self.end is not None:
            # transformers.js cuts long texts at the context length, end and all.
            ended = (ids == self.end).int().amax(dim=1, keepdim=True)
            ids = torch.where((ended == 0) & (places == length - 1), self.end, ids)
        if config.pooling == "eos":
            ends = (ids == config.eos_token_id).int().argmax(dim=1)
        elif config.pooling == "argmax":
            ends = ids.argmax(dim=1)
        else:
            ends = torch.full((batch,), length - 1 if config.pooling == "last" else 0)
        x_BLD = self.token_embedding(ids) + self.position_embedding.weight[:length]
        mask = mask_of_ends = None
        if config.causal:
            mask = _hiding(places > places[:, None], x_BLD.dtype)
            mask_of_ends = _hiding(places > ends[:, None, None, None], x_BLD.dtype)
        *layers, last = self.layers
        for layer in layers:
            x_BLD = layer(x_BLD, x_BLD, mask)
        # The last layer is computed at the ends alone; it sees all places before them.
        at_ends_B1D = x_BLD[torch.arange(batch), ends][:, None]
        x_BD = last(x_BLD, at_ends_B1D, mask_of_ends)[:, 0]
        return _finished(self.projection(self.final_layer_norm(x_BD)), self.normalize)


class ImageGraph(nn.Module):
    """Image tower from normalised pixels, float32 [B, 3, H, W], to embeddings, float32 [B, D].

    Args:
        model: with an image tower; its weights are shared, not copied.
        normalize: divide each embedding by its length.
    """

    def __init__(self, model: CLIP, *, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.dtype = model.dtype
        self.tower: nn.Module
        if isinstance(model.config.vision, ForeignVisionConfig):
            model.prepare_images()
            assert isinstance(model.vision_model, ForeignImageTower)
            self.tower = model.vision_model
        else:
            self.tower = _VisionTransformer(model)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embed pixels."""
        return _finished(self.tower(pixel_values.to(self.dtype)), self.normalize)


class _VisionTransformer(nn.Module):
    """CLIP's image tower, with its projection."""

    def __init__(self, model: CLIP) -> None:
        super().__init__()
        tower, config = model.vision_model, model.config.vision
        assert isinstance(tower, VisionTower)
        assert config
        assert not isinstance(config, ForeignVisionConfig)
        self.patch, self.grid = tower.embeddings.patch, tower.embeddings.grid
        self.patch_weight = _fixed(tower.embeddings.patch_embedding.weight.flatten(1).t())
        self.class_embedding = tower.embeddings.class_embedding
        self.position_embedding = tower.embeddings.position_embedding
        self.pre_layernorm = tower.pre_layrnorm
        self.layers = _layers(tower.encoder, config.hidden_act)
        self.post_layernorm = tower.post_layernorm
        self.projection = _projection(model.visual_projection)

    def forward(self, pixels: Tensor) -> Tensor:
        batch, grid, patch = pixels.shape[0], self.grid, self.patch
        patches = pixels.reshape(batch, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        x_BLD = patches.reshape(batch, grid**2, -1) @ self.patch_weight
        classes = self.class_embedding.expand(batch, 1, -1)
        x_BLD = torch.cat([classes, x_BLD], dim=1) + self.position_embedding.weight
        x_BLD = self.pre_layernorm(x_BLD)
        *layers, last = self.layers
        for layer in layers:
            x_BLD = layer(x_BLD, x_BLD, None)
        x_BD = last(x_BLD, x_BLD[:, :1], None)[:, 0]
        return self.projection(self.post_layernorm(x_BD))  # type: ignore[no-any-return]


class _Linear(nn.Module):
    """Product with weights as ONNX's MatMul takes them, [inputs, outputs].

    They are a view of the layer's: those of a mapped file are read when they are written.
    """

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        assert isinstance(linear, nn.Linear)
        self.weight = _fixed(linear.weight.t())
        self.bias = None if linear.bias is None else _fixed(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        product = x @ self.weight
        return product if self.bias is None else product + self.bias


class _Layer(nn.Module):
    """One residual block, at all places of its input or at some.

    One product for queries, keys and values is hardly faster in onnxruntime than three (ViT-B/16's
    texts of four lengths: 4 % slower to 13 % faster, about what timings varied by), and would need
    a copy of the weights.
    """

    def __init__(self, layer: Layer, activation: Activation) -> None:
        super().__init__()
        self.heads = layer.self_attn.heads
        self.layer_norm1, self.layer_norm2 = layer.layer_norm1, layer.layer_norm2
        self.activation = _ACTIVATIONS[activation]
        attention = layer.self_attn
        self.q_proj, self.k_proj = _Linear(attention.q_proj), _Linear(attention.k_proj)
        self.v_proj, self.out_proj = _Linear(attention.v_proj), _Linear(attention.out_proj)
        self.fc1, self.fc2 = _Linear(layer.mlp.fc1), _Linear(layer.mlp.fc2)

    def forward(self, x_BLD: Tensor, at_BQD: Tensor, mask: Tensor | None) -> Tensor:
        """Compute the layer at some places of each row: [B, L, D], [B, Q, D] → [B, Q, D]."""
        normed_BLD = self.layer_norm1(x_BLD)
        normed_BQD = normed_BLD if at_BQD is x_BLD else self.layer_norm1(at_BQD)
        width = x_BLD.shape[-1] // self.heads
        query, key, value = (
            projected.unflatten(-1, (self.heads, width)).transpose(1, 2)
            for projected in (
                self.q_proj(normed_BQD),
                self.k_proj(normed_BLD),
                self.v_proj(normed_BLD),
            )
        )
        scores = (query * width**-0.5) @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        x_BQD = at_BQD + self.out_proj(mixed)
        inner = self.activation(self.fc1(self.layer_norm2(x_BQD)))
        return x_BQD + self.fc2(inner)  # type: ignore[no-any-return]


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "quick_gelu": _quick_gelu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


def _layers(encoder: Encoder, activation: Activation) -> nn.ModuleList:
    layers = []
    for layer in encoder.layers:
        assert isinstance(layer, Layer)
        layers.append(_Layer(layer, activation))
    return nn.ModuleList(layers)


def _projection(projection: nn.Module) -> nn.Module:
    return projection if isinstance(projection, nn.Identity) else _Linear(projection)


def _end(model: CLIP) -> int | None:
    """Return the id that a text is known to end with; None where it is not read there.

    A model that reads at the largest id does not say what that is, but its tokenizer does.
    """
    assert model.config.text
    pooling = model.config.text.pooling
    if pooling == "eos":
        return model.config.text.eos_token_id
    if pooling != "argmax" or model.tokenizer.end_tokens == 0:
        return None
    [ids] = model.tokenizer.encode([""])
    return ids[-1]


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


def _hiding(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to scores where keys are hidden; −∞ would be NaN in some runtimes."""
    return torch.where(hidden, torch.finfo(dtype).min, 0.0).to(dtype)


def _finished(features: Tensor, normalize: bool) -> Tensor:
    """Return features as float32, of length one where asked for."""
    features = features.float()
    return F.normalize(features, dim=-1) if normalize else features
