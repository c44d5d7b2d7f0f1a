"""CLIP: an image tower and a text tower with one joint space.

The module's parameter names and its config.json are those of Hugging Face's `CLIPModel`, so what
is saved here loads anywhere a CLIP loads, with no custom code.
"""

import reprlib
from collections.abc import Iterator, Sequence, Sized
from itertools import chain
from pathlib import Path
from typing import NoReturn, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from longclip.errors import EncoderError, UsageError
from longclip.image.decode import decode_image
from longclip.image.preprocess import Preprocess
from longclip.model.attention import attend_by_length
from longclip.model.config import CLIPConfig, ForeignVisionConfig, TextConfig, VisionConfig
from longclip.model.image_tower import ForeignImageTower
from longclip.model.micro_batches import SMALL_TOKEN_BUDGET
from longclip.model.own_tokenizer import check_own_tokenizer, own_tokenizer
from longclip.model.packing import VarlenAttention, pack, varlen_attention
from longclip.model.transformer import Layer, TextTower, VisionTower, micro_batches
from longclip.text.tokenizer import TextTokenizer, tokenize
from longclip.text.tokenizer_directory import TokenizerFiles

TOKEN_BUDGET = 8192
"""Tokens per text micro-batch in training on a CPU, where all activations are kept anyway."""

LARGE_TOKEN_BUDGET = 65536
"""Tokens per text micro-batch on anything else, which small ones would leave idle."""

INITIAL_LOGIT_BIAS = -10.0
"""SigLIP's first bias: at the start nearly all pairs are negatives (Zhai et al. 2023, sec. 3.2)."""

_IMAGES_PER_BATCH = 64
"""Images per forward pass where the caller does not say."""


def check_model(model: object, call: str) -> None:
    """Check that what was given for a model is one, and not its path.

    Raises:
        UsageError: naming the call and how a model is read.
    """
    if not isinstance(model, CLIP):
        raise UsageError(
            f"{call} takes a CLIP of longclip, not {model!r:.100}; longclip.load(PATH) gives one"
        )


class CLIP(nn.Module):
    """A CLIP with a text side of any length.

    A model of one tower, such as the text encoder of a diffusion pipeline, has the same methods;
    those of the other tower raise ValueError. A tower without projection gives its own features,
    and D below is their width.

    Args:
        config: the shape of the network.
        preprocess: how pictures become pixels; OpenAI's at the config's image size by default.
        tokenizer_files: of the model's own tokenizer; None where it is CLIP's.

    Attributes:
        name: what errors call it: what it was loaded from; empty for one that was made here.
    """

    name: str = ""
    text_model: TextTower
    vision_model: VisionTower | ForeignImageTower
    text_projection: nn.Module
    visual_projection: nn.Module

    def __init__(
        self,
        config: CLIPConfig,
        preprocess: Preprocess | None = None,
        tokenizer_files: TokenizerFiles | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer_files = tokenizer_files
        size = config.vision.image_size if config.vision else Preprocess.image_size
        self.preprocess = preprocess or Preprocess(image_size=size)
        joint = config.projection_dim
        if config.text:
            self.text_model = TextTower(config.text)
        if isinstance(config.vision, ForeignVisionConfig):
            # Its features are those of the joint space already.
            self.vision_model = ForeignImageTower(config.vision)
            self.visual_projection = nn.Identity()
        elif config.vision:
            self.vision_model = VisionTower(config.vision)
            self.visual_projection = _projection(config.vision.hidden_size, joint, bias=False)
        if config.text:
            bias = config.text_projection_bias
            text_joint = joint if config.text_projection else None
            self.text_projection = _projection(config.text.hidden_size, text_joint, bias=bias)
        if config.whole:
            # The logarithm of the inverse temperature: exp keeps it positive whatever a step does.
            self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
            if config.logit_bias:
                self.logit_bias = nn.Parameter(torch.tensor(INITIAL_LOGIT_BIAS))

    @property
    def context_length(self) -> int:
        """Greatest number of tokens in a text, begin and end of text included."""
        return self._text_config.max_position_embeddings

    @property
    def tokenizer(self) -> TextTokenizer:
        """Converter of texts to this model's ids.

        Raises:
            CheckpointError: if its vocabulary is not CLIP's, and its tokenizer is missing.
        """
        return own_tokenizer(self.config, self.tokenizer_files, self.name)

    def check_tokenizer(self) -> None:
        """Check that texts can be read; else the first one would find out.

        Raises:
            CheckpointError: if the model's own tokenizer is missing, broken or another model's.
        """
        check_own_tokenizer(self.config, self.tokenizer_files, self.name)

    @property
    def vocab_size(self) -> int:
        """Number of token ids that the model has an embedding of."""
        return self._text_config.vocab_size

    @property
    def pad_token_id(self) -> int:
        """Id that fills the places behind a text."""
        return self._text_config.pad_token_id

    def token_ids(self, texts: str | Sequence[str], *, warn: bool = True) -> Tensor:
        """Return the ids of texts, as `text_features` takes them: int64 [N, longest], padded.

        Warns:
            TruncationWarning: if texts had to be cut, unless `warn` is false.

        Raises:
            UsageError: if there are no texts, or one is not a string.
        """
        return tokenize(
            texts,
            self.context_length,
            warn=warn,
            tokenizer=self.tokenizer,
            pad_token_id=self.pad_token_id,
        )

    @property
    def embedding_dim(self) -> int:
        """Width D of embeddings."""
        return self.config.embedding_dim

    @property
    def _text_config(self) -> TextConfig:
        if self.config.text is None:
            raise UsageError("this model is an image tower alone; load a CLIP with a text tower")
        return self.config.text

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self._some_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self._some_weight.dtype

    @property
    def _some_weight(self) -> Tensor:
        # Weights of a lone image tower of another library are buffers until it computes.
        weights = chain(self.parameters(), self.buffers())
        return next(weight for weight in weights if weight.is_floating_point())

    def forward(self, *_: object, **__: object) -> NoReturn:
        """Refuse to be called: there are two towers, and none is the model.

        Raises:
            UsageError: always; it names the methods to call.
        """
        raise UsageError(
            "a CLIP has two encoders and is not called itself: call model.encode_text(texts) or "
            "model.encode_image(pictures), and in training model.text_features(ids) or "
            "model.image_features(pixels)"
        )

    def activation_checkpointing(self, enabled: bool = True) -> None:
        """Recompute activations in the backward pass: less memory, a third more time."""
        if self.config.text:
            self.text_model.encoder.activation_checkpointing = enabled
        if isinstance(self.config.vision, ForeignVisionConfig):
            assert isinstance(self.vision_model, ForeignImageTower)
            self.vision_model.activation_checkpointing(enabled)
        elif self.config.vision:
            assert isinstance(self.vision_model, VisionTower)
            self.vision_model.encoder.activation_checkpointing = enabled

    def prepare_images(self) -> None:
        """Make the image tower of another library one that computes, if it is not yet.

        Its weights are parameters only then, which can be trained. The first picture does it too.

        Raises:
            UsageError: as `ForeignImageTower.prepare`.
        """
        if isinstance(self.config.vision, ForeignVisionConfig):
            assert isinstance(self.vision_model, ForeignImageTower)
            self.vision_model.prepare()

    def text_features(self, ids: Tensor, *, token_budget: int | None = None) -> Tensor:
        """Embed tokenized texts, with gradients where they are enabled.

        Args:
            ids: int64 [N, L], N ≥ 1; anything after a text's first end-of-text token is ignored,
                unless the model reads padding: then they are padded to its context length.
            token_budget: tokens per micro-batch; results do not depend on it.

        Returns:
            [N, D] in the dtype of the computation, not normalised.

        Raises:
            UsageError: as `read_places`.
        """
        config = self._text_config
        ids, ends, lengths = self.read_places(ids)
        if token_budget:
            budget = token_budget
        elif self.device.type != "cpu":
            budget = LARGE_TOKEN_BUDGET
        else:
            budget = TOKEN_BUDGET if torch.is_grad_enabled() else SMALL_TOKEN_BUDGET
        head_width = config.hidden_size // config.num_attention_heads
        weight = self.text_model.embeddings.token_embedding.weight
        if not config.reads_padding and (attention := varlen_attention(weight, head_width)):
            return self._packed_features(ids, ends, budget, attention)
        ids, ends, lengths = (tensor.to(self.device) for tensor in (ids, ends, lengths))
        if self.device.type == "cpu" and not config.reads_padding:
            order = lengths.argsort(stable=True)
            features = self._packed_features(ids[order], ends[order], budget, attend_by_length)
            return features[order.argsort()]
        return self._padded_features(ids, ends, lengths, budget)

    def read_places(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find out where texts are read, and how much of each matters.

        Args:
            ids: int64 [N, L].

        Returns:
            The ids, padded to the context length where the model reads padding; int64 [N], the
            place at which each is read; int64 [N], the tokens that reach that place.

        Raises:
            UsageError: if a text is longer than the context length, has no end, or has an id that
                is not in the vocabulary.
        """
        config = self._text_config
        if config.reads_padding:
            self._check_length(ids.shape[1])
            ids = F.pad(ids, (0, self.context_length - ids.shape[1]), value=config.pad_token_id)
        places = self.text_model.read_positions(ids)
        # Attention is causal but where padding is read: nothing behind that place matters.
        lengths = torch.full_like(places, ids.shape[1]) if config.reads_padding else places + 1
        self._check_length(int(lengths.max()))
        unknown = (ids < 0) | (ids >= config.vocab_size)
        if bool(unknown.any()):
            read = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            for row, place in (unknown & read).nonzero().tolist():
                raise UsageError(
                    f"token id {int(ids[row, place])} at position {place} of text {row} is not in "
                    f"this model's vocabulary of {config.vocab_size} ids; model.token_ids makes ids"
                )
            # What stands behind the end is not read, so it may be no token at all.
            ids = ids.masked_fill(unknown, config.eos_token_id)
        return ids, places, lengths

    def layers(self) -> Iterator[Layer]:
        """Yield the layers of all towers that this package computes itself."""
        for tower in (getattr(self, "text_model", None), getattr(self, "vision_model", None)):
            if isinstance(tower, TextTower | VisionTower):
                yield from cast(Iterator[Layer], tower.encoder.layers)

    def _padded_features(self, ids: Tensor, ends: Tensor, lengths: Tensor, budget: int) -> Tensor:
        """Embed texts [N, L], in micro-batches sorted by length → [N, D].

        Args:
            ids: int64 [N, L].
            ends: int64 [N], where each is read.
            lengths: int64 [N], tokens of each that can reach that place.
            budget: tokens of a micro-batch.
        """
        batches = list(micro_batches(lengths, budget))
        embeddings = self.text_model.embeddings
        words, ids = embeddings.used_words(ids) if torch.is_grad_enabled() else (None, ids)
        features = []
        # Each micro-batch is cut to its longest text: its last one, since they are sorted. That is
        # exact: attention is causal, so no token behind a text's end reaches what is read there.
        for batch in batches:
            x_BLD = embeddings(ids[batch, : int(lengths[batch[-1]])], words)
            features.append(self.text_projection(self.text_model.read(x_BLD, ends[batch])))
        return torch.cat(features)[torch.argsort(torch.cat(batches))]

    def _packed_features(
        self, ids: Tensor, ends: Tensor, budget: int, attention: VarlenAttention
    ) -> Tensor:
        """Embed as `_padded_features`, with the texts one after the other in the order given.

        Where tokens stand is worked out where the ids are: ids that come from a data loader then
        never make the program wait for the device.
        """
        ids = ids[torch.arange(ids.shape[1], device=ids.device) <= ends[:, None]]
        embeddings = self.text_model.embeddings
        words, ids = embeddings.used_words(ids) if torch.is_grad_enabled() else (None, ids)
        ids = ids.to(self.device)
        features = []
        for part, texts in pack(ends + 1, budget, attention, self.device):
            x_TD = embeddings.packed(ids[part], texts.positions, words)
            features.append(self.text_projection(self.text_model.read_packed(x_TD, texts)))
        return torch.cat(features)

    def image_features(self, pixels: Tensor) -> Tensor:
        """Embed preprocessed images, with gradients where they are enabled.

        Args:
            pixels: [N, 3, H, W], normalised.

        Returns:
            [N, D] in the dtype of the computation, not normalised.

        Raises:
            ValueError: if the pixels do not have the model's image size.
        """
        if self.config.vision is None:
            raise UsageError("this model is a text tower alone; load a CLIP with an image tower")
        size = self.config.vision.image_size
        if pixels.ndim != 4 or pixels.shape[1:] != (3, size, size):
            raise UsageError(
                f"pixels have shape {list(pixels.shape)}, this model takes [N, 3, {size}, {size}]; "
                "pass pictures or paths to have them resized"
            )
        pixels = pixels.to(self.device, self.dtype)
        return self.visual_projection(self.vision_model(pixels))  # type: ignore[no-any-return]

    def _micro_batches(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Cut a batch of images into what passes the network at once: on a CPU, by its caches."""
        if self.device.type != "cpu" or not isinstance(self.config.vision, VisionConfig):
            return (pixels,)
        at_once = max(1, SMALL_TOKEN_BUDGET // (self.config.vision.patches + 1))
        return torch.split(pixels, at_once)

    @torch.no_grad()
    def encode_text(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[int]] | Tensor,
        *,
        normalize: bool = False,
        token_budget: int | None = None,
    ) -> Tensor:
        """Embed texts.

        Args:
            texts: strings, or token ids (a tensor [N, L] or lists of ids with begin and end).
                Strings that are too long are cut, with a `TruncationWarning`.
            normalize: divide each embedding by its length.
            token_budget: tokens per micro-batch; results do not depend on it.

        Returns:
            float32 [N, D], in the order of `texts`.

        Raises:
            UsageError: if something is neither a string nor token ids, or if given ids are longer
                than the context length, have no end or are not in the vocabulary.
            EncoderError: if the model gives numbers that are not finite.
        """
        if isinstance(texts, str) or not isinstance(texts, Sized):
            texts = [texts]
        if len(texts) == 0:
            return torch.empty(0, self.embedding_dim, device=self.device)
        if not isinstance(texts, Tensor) and all(isinstance(text, str) for text in texts):
            ids = self.token_ids(cast("Sequence[str]", texts))
        else:
            ids = self._checked_ids(texts)  # type: ignore[arg-type]
        return self._embeddings(self.text_features(ids, token_budget=token_budget), normalize)

    @torch.no_grad()
    def encode_image(
        self,
        images: Image.Image | str | Path | Sequence[Image.Image | str | Path] | Tensor,
        *,
        normalize: bool = False,
        batch_size: int = _IMAGES_PER_BATCH,
    ) -> Tensor:
        """Embed images.

        Args:
            images: pictures, paths, or preprocessed pixels [N, 3, H, W].
            normalize: divide each embedding by its length.
            batch_size: images read and embedded together, at most; on a CPU fewer of them pass
                the network at once. Results do not depend on it.

        Returns:
            float32 [N, D], in the order of `images`.

        Raises:
            longclip.errors.ImageError: if a picture cannot be read; it names the file.
            EncoderError: if the model gives numbers that are not finite.
        """
        if isinstance(images, Image.Image | str | Path):
            images = [images]
        features: list[Tensor] = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            if not isinstance(batch, Tensor):
                # Decoded batch by batch, so that pictures of any number fit into memory.
                batch = torch.stack([self.preprocess(decode_image(image)) for image in batch])
            features.extend(
                self.image_features(part).float() for part in self._micro_batches(batch)
            )
        if not features:
            return torch.empty(0, self.embedding_dim, device=self.device)
        return self._embeddings(torch.cat(features), normalize)

    def encode_pixels(
        self, pixels_NHWC: Tensor, *, normalize: bool = False, batch_size: int = _IMAGES_PER_BATCH
    ) -> Tensor:
        """Embed images that are already resized and cropped, as `Preprocess.pixels` leaves them.

        Args:
            pixels_NHWC: uint8 [N, image_size, image_size, 3], on any device.
            normalize: divide each embedding by its length.
            batch_size: images read and embedded together, at most; on a CPU fewer of them pass
                the network at once. Results do not depend on it.

        Returns:
            float32 [N, D].

        Raises:
            ValueError: if the pixels are not uint8 or do not have the model's image size.
            EncoderError: if the model gives numbers that are not finite.
        """
        if self.device.type == "cuda":
            # Copied while the device still computes; a quarter of the bytes that floats would have.
            pixels_NHWC = pixels_NHWC.pin_memory() if pixels_NHWC.is_cpu else pixels_NHWC
        pixels_NHWC = pixels_NHWC.to(self.device, non_blocking=True)
        pixels = self.preprocess.normalize(pixels_NHWC.permute(0, 3, 1, 2))
        return self.encode_image(pixels, normalize=normalize, batch_size=batch_size)

    def _embeddings(self, features: Tensor, normalize: bool) -> Tensor:
        """Return features [N, D] as float32; NaN would be the nearest to nothing, or to all."""
        rows = features.float()
        if not bool(rows.isfinite().all()):
            bad = (~rows.isfinite().all(dim=1)).nonzero().flatten().tolist()
            raise EncoderError(
                f"{self.name or 'this model'} gives {len(bad)} of {len(rows)} embeddings that are "
                f"not finite (first: number {bad[0]}): its weights are damaged, or too large for "
                f"{str(self.dtype).removeprefix('torch.')}; take another checkpoint, or float32"
            )
        return F.normalize(rows, dim=-1) if normalize else rows

    def _checked_ids(self, texts: Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Return token ids that a caller made as int64 [N, L], padded."""
        config = self._text_config
        if isinstance(texts, Tensor):
            ids = texts.to(torch.int64) if _is_whole(texts) else texts
            if ids.ndim != 2 or not _is_whole(ids):
                dtype = str(ids.dtype).removeprefix("torch.")
                raise UsageError(
                    f"token ids are {dtype} {list(ids.shape)}; this model takes whole numbers "
                    "[N, L], as longclip.tokenize makes them"
                )
        else:
            rows = [
                _token_ids(place, text)
                for place, text in enumerate(texts)
                if not isinstance(text, str)
            ]
            if len(rows) < len(texts):
                raise UsageError("texts mixes strings and token ids; pass one kind")
            pad = config.pad_token_id
            ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
        return ids

    def _check_length(self, longest: int) -> None:
        if longest > self.context_length:
            raise UsageError(
                f"a text has {longest} tokens, this model reads {self.context_length}; tokenize "
                f"with context_length={self.context_length} or lengthen the model: longclip stretch"
            )


def _token_ids(place: int, text: object) -> Tensor:
    """Return the token ids of one text as int64 [L]."""
    try:
        ids = torch.as_tensor(text)
    except (TypeError, ValueError, RuntimeError):
        ids = None
    if ids is None or ids.ndim != 1 or not _is_whole(ids):
        raise UsageError(
            f"texts[{place}] is {type(text).__name__} ({reprlib.repr(text)}), neither a string nor "
            "the token ids of one text; leave missing captions out, and hand over a list of texts"
        )
    return ids.to(torch.int64)


def _is_whole(ids: Tensor) -> bool:
    return not ids.is_floating_point() and ids.dtype != torch.bool


def _projection(width: int, joint: int | None, *, bias: bool) -> nn.Module:
    if joint is None:
        return nn.Identity()
    projection = nn.Linear(width, joint, bias=bias)
    nn.init.normal_(projection.weight, std=width**-0.5)
    return projection
