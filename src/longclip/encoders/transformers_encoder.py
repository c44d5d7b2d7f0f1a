"""Encoders of transformers."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from longclip.encoders.encoder import Ids, LibraryTokenizer
from longclip.encoders.library import embed_by_length, import_library, loading_errors
from longclip.errors import EncoderError
from longclip.model.identity import encoder_fingerprint

# Trained on texts padded to the full length without a mask, so padding is part of the text.
_PADDED = ("siglip", "siglip2")
# Their tables say how long a text may be; a tokenizer's own limit may be that of another model.
_LIMITED_BY_TABLE = ("clip", *_PADDED)
# A tokenizer without a limit of its own has one of 1e30.
_UNLIMITED = 1_000_000


class TransformersEncoder:
    """Dual encoder of transformers: CLIP, SigLIP, SigLIP 2, ALIGN, BLIP for retrieval and others.

    Of BLIP the embeddings are those of its contrastive head (ITC), which rank a whole collection;
    its matching head reads text and image together and has no embeddings.
    """

    def __init__(self, model: Any, processor: Any, name: str, batch_size: int) -> None:
        self.name = name
        self._model = model.eval()
        self._processor = processor
        self._batch_size = batch_size
        self._kind = model.config.model_type
        text = getattr(model.config, "text_config", model.config)
        table = getattr(text, "max_position_embeddings", None)
        limits = [table, processor.tokenizer.model_max_length]
        if table and self._kind in _LIMITED_BY_TABLE:
            limits = [table]
        self._limit = min((int(n) for n in limits if n and n < _UNLIMITED), default=None)

    @property
    def context_length(self) -> int | None:
        """Tokens of the model's own tokenizer, special ones included."""
        return self._limit

    @property
    def tokenizer(self) -> LibraryTokenizer:
        """The processor's tokenizer."""

        def ids(texts: list[str], length: int | None) -> Ids:
            cut = {"truncation": length is not None, "max_length": length, "padding": False}
            found: Ids = self._processor(text=texts, verbose=False, **cut)["input_ids"]
            return found

        return LibraryTokenizer(ids)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = self._model.device
        return device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights and settings, computed on first use."""
        transformers = import_library("transformers", install="transformers")
        config = self._model.config.to_dict()
        config.pop("_name_or_path", None)
        settings = {"library": f"transformers {transformers.__version__}", "config": config}
        return encoder_fingerprint(self._model, settings, self._tokenize, self.prepare)

    def prepare(self, image: Image.Image) -> dict[str, torch.Tensor]:
        """Return what the model's image processor makes of one picture."""
        # Not the processor of both: SigLIP 2's has patch sizes of its own in place of the saved.
        return dict(self._processor.image_processor(images=image, return_tensors="pt"))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """Embed texts: [N, D] as the model gives them."""
        return embed_by_length(texts, self._batch_size, self._embed_texts)

    @torch.no_grad()
    def encode_image(
        self, images: Sequence[Image.Image | Mapping[str, torch.Tensor]], /
    ) -> torch.Tensor:
        """Embed pictures, or what `prepare` made of them: [N, D] as the model gives them."""
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        inputs = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        for name, tensor in inputs.items():
            dtype = self._model.dtype if tensor.is_floating_point() else None
            inputs[name] = tensor.to(self.device, dtype)
        if hasattr(self._model, "vision_proj"):
            states = self._model.vision_model(**inputs).last_hidden_state
            projected: torch.Tensor = self._model.vision_proj(states[:, 0])
            return projected
        return _pooled(self._model.get_image_features(**inputs))

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        inputs = {name: tensor.to(self.device) for name, tensor in self._tokenize(texts).items()}
        if hasattr(self._model, "text_proj"):
            states = self._model.text_encoder(**inputs).last_hidden_state
            projected: torch.Tensor = self._model.text_proj(states[:, 0])
            return projected
        return _pooled(self._model.get_text_features(**inputs))

    def _tokenize(self, texts: list[str]) -> dict[str, torch.Tensor]:
        padding = "max_length" if self._kind in _PADDED else True
        return dict(
            self._processor(
                text=texts,
                padding=padding,
                truncation=self._limit is not None,
                max_length=self._limit,
                return_tensors="pt",
            )
        )


def open_transformers(
    name: str, *, device: str, dtype: torch.dtype, batch_size: int
) -> TransformersEncoder:
    """Open a directory or a name on the hub.

    Raises:
        EncoderError: where there is no such model, it has no two towers with a joint space, or
            some of its weights are missing: transformers would leave those random.
    """
    transformers = import_library("transformers", install="transformers")
    transformers.utils.logging.disable_progress_bar()
    spec = f"transformers:{name}"
    hint = "name a directory that save_pretrained wrote, or owner/model on the hub"
    with loading_errors(spec, hint=hint):
        config = transformers.AutoConfig.from_pretrained(name)
        kind = transformers.AutoModel
        if config.model_type == "blip" and "BlipModel" not in (config.architectures or ()):
            kind = transformers.BlipForImageTextRetrieval
        model, info = kind.from_pretrained(name, dtype=dtype, output_loading_info=True)
        processor = transformers.AutoProcessor.from_pretrained(name)
        model.to(device)
    features = ("get_text_features", "get_image_features")
    if not hasattr(model, "vision_proj") and not all(hasattr(model, name) for name in features):
        raise EncoderError(
            f"{spec} is a {type(model).__name__}, which has no text and image tower into one "
            "space; name a model such as CLIP, SigLIP, ALIGN, or BLIP for retrieval"
        )
    missing = sorted({*info["missing_keys"], *map(str, info["mismatched_keys"])})
    if missing:
        raise EncoderError(
            f"{spec} lacks {len(missing)} weights of a {type(model).__name__} "
            f"({', '.join(missing[:3])} …), which would be random; it was saved from another kind "
            "of model or is incomplete"
        )
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise EncoderError(
            f"{spec} has no tokenizer or no image processor; save both beside the model with "
            "processor.save_pretrained"
        )
    return TransformersEncoder(model, processor, spec, batch_size)


def _pooled(features: Any) -> torch.Tensor:
    """Return the embeddings that version 5 of transformers wraps and version 4 gives bare."""
    pooled: torch.Tensor = getattr(features, "pooler_output", features)
    return pooled
