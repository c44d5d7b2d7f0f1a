"""The two towers: text read at its end-of-text token, images read at their class token.

The text tower pays for real tokens only. Its attention is causal, so nothing after a text's
end-of-text token can reach its embedding: a batch may be cut to its longest text without changing
any result. Sorting texts by length first makes each micro-batch nearly free of padding, and packing
them (see `packing`) wholly so.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longclip.errors import UsageError
from longclip.model.config import TextConfig, VisionConfig
from longclip.model.packing import PackedTexts
from longclip.model.transformer import Encoder, initialize


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
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        initialize(self.encoder, config)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the end-of-text token after the last LayerNorm: int64 [B, L] → [B, D]."""
        return self.read(self.embeddings(ids), end_positions(ids, self.eos_token_id))

    def read(self, x_BLD: Tensor, ends_B: Tensor) -> Tensor:
        """Read embedded tokens [B, L, D] where their texts end, int64 [B] → [B, D]."""
        x_BD = self.encoder(x_BLD, causal=True, positions_B=ends_B)
        return self.final_layer_norm(x_BD)  # type: ignore[no-any-return]

    def read_packed(self, x_TD: Tensor, texts: PackedTexts) -> Tensor:
        """Read the embedded tokens of N packed texts at their ends: [T, D] → [N, D]."""
        return self.final_layer_norm(self.encoder.packed(x_TD, texts))  # type: ignore[no-any-return]


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
    return is_end.int().argmax(dim=1)


MAX_PADDING_SHARE = 1 / 16
"""Share of a micro-batch that may be padding."""

MIN_BATCH_TOKENS = 256
"""Tokens or padding below which another micro-batch would cost more than it saves."""


def micro_batches(lengths: Tensor, token_budget: int) -> Iterator[Tensor]:
    """Yield index sets that cover all texts once, from short to long, none over the token budget.

    A micro-batch also ends where one text more would make over a sixteenth of it padding, unless
    both it and its padding are still so small that the fixed cost of another one would weigh more:
    a text and its dozen sentences, fewer tokens than that together, would be padded to fourfold.

    Args:
        lengths: int64 [N], the tokens of each text.
        token_budget: the largest padded size (texts × longest) of a micro-batch; a single text
            longer than that still makes a micro-batch of its own.

    Yields:
        int64 indices into `lengths`.
    """
    order = torch.argsort(lengths, stable=True)
    sizes: Sequence[int] = lengths[order].tolist()
    start = real = 0
    for end, size in enumerate(sizes):
        tokens = (end + 1 - start) * size
        padding = tokens - real - size
        wasteful = padding > MAX_PADDING_SHARE * tokens and max(real, padding) >= MIN_BATCH_TOKENS
        if end > start and (tokens > token_budget or wasteful):
            yield order[start:end]
            start, real = end, 0
        real += size
    yield order[start:]


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
        # Patches do not overlap, so the convolution is one matrix product, which is faster.
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
