"""The pre-norm transformer and the two towers made of it; parameter names are Hugging Face's.

Texts are read at their end-of-text token, images at their class token.

The text tower pays for real tokens only. Its attention is causal, so nothing after a text's
end-of-text token can reach its embedding: a batch may be cut to its longest text without changing
any result. Sorting texts by length first makes each micro-batch nearly free of padding, and packing
them (see `packing`) wholly so.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from longclip.errors import UsageError
from longclip.model.attention import attend
from longclip.model.config import TextConfig, TowerConfig, VisionConfig
from longclip.model.linear import (
    ACTIVATIONS,
    QUICK_GELU_SCALE,
    add_linear,
    apply_linear,
    quick_gelu,
    taken_apart,
)
from longclip.model.micro_batches import micro_batches as batches_by_length
from longclip.model.packing import PackedTexts
from longclip.spec import Pooling


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, residual: Tensor, x: Tensor, *, causal: bool, texts: PackedTexts | None = None
    ) -> Tensor:
        """Add what x attends to, [B, L, D] → same; in packed texts, always causally, [T, D]."""
        if texts is not None:
            return self._packed(residual, x, x, texts.attend)
        query, key, value = (
            self._heads(apply_linear(layer, x)) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self._joined(residual, attend(query, key, value, causal=causal))

    def at(
        self, residual_BD: Tensor, x_BLD: Tensor, positions_B: Tensor, *, causal: bool
    ) -> Tensor:
        """Compute `forward` at one position of each row: [B, D], [B, L, D], int64 [B] → [B, D]."""
        batch, length, _ = x_BLD.shape
        rows = torch.arange(batch, device=x_BLD.device)
        query = self._heads(apply_linear(self.q_proj, x_BLD[rows, positions_B, None]))
        key, value = (
            self._heads(apply_linear(layer, x_BLD)) for layer in (self.k_proj, self.v_proj)
        )
        past = torch.arange(length, device=x_BLD.device) <= positions_B[:, None, None, None]
        mixed = attend(query, key, value, visible=past if causal else None)
        return self._joined(residual_BD[:, None], mixed)[:, 0]

    def at_ends(self, residual_ND: Tensor, x_TD: Tensor, texts: PackedTexts) -> Tensor:
        """Compute `forward` of N packed texts at their ends: [N, D], [T, D] → [N, D]."""
        return self._packed(residual_ND, x_TD[texts.ends], x_TD, texts.attend_from_ends)

    def _packed(
        self, residual_QD: Tensor, x_QD: Tensor, x_TD: Tensor, attend: Callable[..., Tensor]
    ) -> Tensor:
        query, key, value = (
            torch.unflatten(apply_linear(layer, x), -1, (self.heads, -1))
            for layer, x in ((self.q_proj, x_QD), (self.k_proj, x_TD), (self.v_proj, x_TD))
        )
        return add_linear(residual_QD, self.out_proj, attend(query, key, value).flatten(1))

    def _heads(self, x_BLD: Tensor) -> Tensor:
        batch, length, _ = x_BLD.shape
        return x_BLD.view(batch, length, self.heads, -1).transpose(1, 2)

    def _joined(self, residual: Tensor, mixed: Tensor) -> Tensor:
        return add_linear(residual, self.out_proj, mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers around the tower's activation."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        """Add what both layers make of x, […, D] → […, D]."""
        if self.activation is quick_gelu and taken_apart(self.fc1, x):
            # Its scales cost passes over the widest tensor of the network; products have them free.
            hidden = apply_linear(self.fc1, x, scale=QUICK_GELU_SCALE)
            hidden = F.silu(hidden, inplace=not hidden.requires_grad)
            return add_linear(residual, self.fc2, hidden, scale=1 / QUICK_GELU_SCALE)
        return add_linear(residual, self.fc2, self.activation(apply_linear(self.fc1, x)))


class Layer(nn.Module):
    """One residual block: attention, then the MLP, each after a LayerNorm."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, *, causal: bool, texts: PackedTexts | None = None) -> Tensor:
        """Apply it, [B, L, D] → [B, L, D]; to packed texts, always causally, [T, D] → [T, D]."""
        x = self.self_attn(x, self.layer_norm1(x), causal=causal, texts=texts)
        return self.mlp(x, self.layer_norm2(x))  # type: ignore[no-any-return]

    def at(self, x_BLD: Tensor, positions_B: Tensor, *, causal: bool) -> Tensor:
        """Compute `forward` at one position of each row: [B, L, D], int64 [B] → [B, D]."""
        x_BD = x_BLD[torch.arange(x_BLD.shape[0], device=x_BLD.device), positions_B]
        x_BD = self.self_attn.at(x_BD, self.layer_norm1(x_BLD), positions_B, causal=causal)
        return self.mlp(x_BD, self.layer_norm2(x_BD))  # type: ignore[no-any-return]

    def at_ends(self, x_TD: Tensor, texts: PackedTexts) -> Tensor:
        """Compute `forward` of N packed texts at their ends: [T, D] → [N, D]."""
        x_ND = self.self_attn.at_ends(x_TD[texts.ends], self.layer_norm1(x_TD), texts)
        return self.mlp(x_ND, self.layer_norm2(x_ND))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Stack of layers."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.activation_checkpointing = False

    def forward(self, x_BLD: Tensor, *, causal: bool, positions_B: Tensor | None = None) -> Tensor:
        """Apply all layers, [B, L, D] → [B, L, D], or → [B, D] at one position of each row.

        A pooled tower looks at one position only (`positions_B`, int64 [B]). Its last layer needs
        keys and values everywhere, but all the rest of that layer, ten of its twelve matrix
        products, only there. With checkpointing, activations are recomputed in backward.
        """
        *layers, last = self.layers
        for layer in layers:
            x_BLD = self._run(partial(layer, causal=causal), x_BLD)
        if positions_B is None:
            return self._run(partial(last, causal=causal), x_BLD)
        assert isinstance(last, Layer)
        return self._run(partial(last.at, positions_B=positions_B, causal=causal), x_BLD)

    def packed(self, x_TD: Tensor, texts: PackedTexts) -> Tensor:
        """Apply all layers to packed texts, causally, and read at their ends: [T, D] → [N, D]."""
        *layers, last = self.layers
        for layer in layers:
            x_TD = self._run(partial(layer, causal=True, texts=texts), x_TD)
        assert isinstance(last, Layer)
        return self._run(partial(last.at_ends, texts=texts), x_TD)

    def _run(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, x, use_reentrant=False)  # type: ignore[no-any-return]
        return layer(x)


@torch.no_grad()
def initialize(encoder: Encoder, config: TowerConfig) -> None:
    """Initialise as CLIP does: residual branches shrink with depth (Radford et al. 2021, code)."""
    width, depth = config.hidden_size, config.num_hidden_layers
    branch = width**-0.5 * (2 * depth) ** -0.5
    for layer in encoder.layers:
        assert isinstance(layer, Layer)
        attention, mlp = layer.self_attn, layer.mlp
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
        for projection in inputs:
            nn.init.normal_(projection.weight, std=width**-0.5)
        nn.init.normal_(attention.out_proj.weight, std=branch)
        nn.init.normal_(mlp.fc1.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(mlp.fc2.weight, std=branch)
        for linear in (*inputs, attention.out_proj, mlp.fc1, mlp.fc2):
            nn.init.zeros_(linear.bias)


class TextEmbeddings(nn.Module):
    """Embeddings of tokens and positions."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.01)

    def forward(self, ids: Tensor, words: Tensor | None = None) -> Tensor:
        """Embed ids, int64 [B, L] → [B, L, D]; with `words` [U, D], ids are places among those."""
        table = self.token_embedding.weight if words is None else words
        return F.embedding(ids, table) + self.position_embedding.weight[: ids.shape[1]]

    def packed(self, ids: Tensor, positions: Tensor, words: Tensor | None = None) -> Tensor:
        """Embed packed texts: ids, int64 [T], and the position of each, int64 [T] → [T, D]."""
        table = self.token_embedding.weight if words is None else words
        return F.embedding(ids, table) + F.embedding(positions, self.position_embedding.weight)

    def used_words(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of all tokens in `ids`, [U, D], and the place of each among them.

        Looking tokens up here keeps gradients small: those of the vocabulary are as large as the
        vocabulary, and every lookup in it makes them anew.
        """
        used, places = torch.unique(ids, return_inverse=True)
        return self.token_embedding(used.to(self.token_embedding.weight.device)), places


class TextTower(nn.Module):
    """Transformer from token ids to one vector per text, before the joint projection."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.eos_token_id = config.eos_token_id
        self.causal, self.pooling = config.causal, config.pooling
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        initialize(self.encoder, config)

    def forward(self, ids: Tensor) -> Tensor:
        """Return what is read of each text after the last LayerNorm: int64 [B, L] → [B, D]."""
        return self.read(self.embeddings(ids), self.read_positions(ids))

    def read_positions(self, ids: Tensor) -> Tensor:
        """Return the place at which each text is read: int64 [B, L] → int64 [B].

        Raises:
            ValueError: if a text has no end and is read there.
        """
        return read_positions(ids, self.pooling, self.eos_token_id)

    def read(self, x_BLD: Tensor, positions_B: Tensor) -> Tensor:
        """Read embedded tokens [B, L, D] at one position each, int64 [B] → [B, D]."""
        x_BD = self.encoder(x_BLD, causal=self.causal, positions_B=positions_B)
        return self.final_layer_norm(x_BD)  # type: ignore[no-any-return]

    def read_packed(self, x_TD: Tensor, texts: PackedTexts) -> Tensor:
        """Read the embedded tokens of N packed texts at their ends: [T, D] → [N, D]."""
        return self.final_layer_norm(self.encoder.packed(x_TD, texts))  # type: ignore[no-any-return]


def read_positions(ids: Tensor, pooling: Pooling, eos_token_id: int) -> Tensor:
    """Return the place at which each text is read: int64 [B, L] → int64 [B].

    Raises:
        ValueError: if a text has no end and is read there.
    """
    if pooling == "eos":
        return end_positions(ids, eos_token_id)
    if pooling == "argmax":
        return ids.argmax(dim=1)  # the first of equal ones, on CPU and CUDA alike
    place = ids.shape[1] - 1 if pooling == "last" else 0
    return torch.full((len(ids),), place, dtype=torch.int64, device=ids.device)


def end_positions(ids: Tensor, eos_token_id: int) -> Tensor:
    """Find the first end-of-text token of each text: int64 [B, L] → int64 [B].

    Raises:
        ValueError: if a text has none; what it means would then depend on its padding.
    """
    is_end = ids == eos_token_id
    if not bool(is_end.any(dim=1).all()):
        row = int((~is_end.any(dim=1)).nonzero()[0])
        raise UsageError(
            f"text {row} has no end-of-text token ({eos_token_id}); "
            "make ids with longclip.tokenize, which keeps it when it cuts a text"
        )
    # argmax is the first of equal ones, on CPU and CUDA alike: a padded text ends where it says.
    return is_end.int().argmax(dim=1)


def micro_batches(lengths: Tensor, token_budget: int) -> Iterator[Tensor]:
    """Yield index sets as `longclip.model.micro_batches`, of lengths int64 [N] and as int64."""
    for batch in batches_by_length(lengths.tolist(), token_budget):
        yield torch.tensor(batch, device=lengths.device)


class VisionEmbeddings(nn.Module):
    """Embeddings of patches, the class token and positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, self.patch = config.hidden_size, config.patch_size
        self.grid = config.image_size // config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, self.patch, stride=self.patch, bias=False)
        self.position_embedding = nn.Embedding(self.grid**2 + 1, width)
        nn.init.normal_(self.class_embedding, std=width**-0.5)
        nn.init.normal_(self.patch_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=width**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pixels, [B, 3, H, W] → [B, 1 + patches, D]."""
        batch = pixels.shape[0]
        # Patches do not overlap, so the convolution is one matrix product, which is faster. The
        # permutation puts a patch's numbers in the order of the flattened kernel: channel, y, x.
        patches = (
            pixels.view(batch, 3, self.grid, self.patch, self.grid, self.patch)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(batch, self.grid**2, -1)
        )
        x = F.linear(patches, self.patch_embedding.weight.flatten(1))
        classes = self.class_embedding.to(x.dtype).expand(batch, 1, -1)
        return torch.cat([classes, x], dim=1) + self.position_embedding.weight


class VisionTower(nn.Module):
    """Transformer from pixels to one vector per image, before the joint projection."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        # Spelt so by OpenAI's conversion to Hugging Face, and now in every checkpoint.
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        initialize(self.encoder, config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the class token after the last LayerNorm: [B, 3, H, W] → [B, D]."""
        x_BLD = self.pre_layrnorm(self.embeddings(pixels))
        classes = torch.zeros(x_BLD.shape[0], dtype=torch.int64, device=x_BLD.device)
        x_BD = self.encoder(x_BLD, causal=False, positions_B=classes)
        return self.post_layernorm(x_BD)  # type: ignore[no-any-return]
