"""Dual encoders of transformers: CLIP, SigLIP, SigLIP 2, ALIGN, BLIP for retrieval and others.

Work that the adapters share.

Models of open_clip.

Models of sentence-transformers that embed texts and pictures.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from longclip.errors import EncoderError
from longclip.model.identity import encoder_fingerprint


def import_library(name: str, *, install: str) -> Any:
    """An optional library; EncoderError with what to install where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a torchvision for another torch raises RuntimeError
        raise EncoderError(
            f"{name} cannot be imported ({_first_line(error)}); pip install {install}"
        ) from error


@contextmanager
def opening(spec: str, *, hint: str) -> Iterator[None]:
    """Turns whatever a library raises while it loads `spec` into an EncoderError."""
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:  # each library and version fails in its own ways
        raise EncoderError(f"{spec} cannot be opened: {_first_line(error)}; {hint}") from error


def by_length(
    texts: Sequence[str], batch_size: int, embed: Callable[[list[str]], torch.Tensor]
) -> torch.Tensor:
    """[N, D] in the order of `texts`, embedded in batches of texts of about the same length."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = [
        embed([texts[i] for i in order[start : start + batch_size]])
        for start in range(0, len(order), batch_size)
    ]
    return torch.cat(parts)[torch.tensor(order).argsort().to(parts[0].device)]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


# Trained on texts padded to the full length without a mask, so padding is part of the text.
_PADDED = ("siglip", "siglip2")
# Their tables say how long a text may be; a tokenizer's own limit may be that of another model.
_LIMITED_BY_TABLE = ("clip", *_PADDED)
_UNLIMITED = 1_000_000


class TransformersEncoder:
    """A model with `get_text_features` and `get_image_features`, or BLIP's retrieval model.

    Of BLIP the embeddings are those of its contrastive head (ITC), which rank a whole collection;
    its matching head reads text and image together and has no embeddings.
    """

    def __init__(self, model: Any, processor: Any, name: str, batch_size: int) -> None:
        self.name = name
        self._model = model.eval()
        self._processor = processor
        self._batch_size = batch_size
        self._kind = model.config.model_type
        self._limit = _text_limit(model.config, processor.tokenizer)

    @property
    def context_length(self) -> int | None:
        """Tokens of the model's own tokenizer, special ones included."""
        return self._limit

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self._model.device
        return device

    @cached_property
    def fingerprint(self) -> str:
        """Computed on first use."""
        transformers = import_library("transformers", install="transformers")
        config = self._model.config.to_dict()
        config.pop("_name_or_path", None)
        settings = {"library": f"transformers {transformers.__version__}", "config": config}
        return encoder_fingerprint(self._model, settings, self._tokenize, self.prepare)

    def prepare(self, image: Image.Image) -> dict[str, torch.Tensor]:
        """What the model's image processor makes of one picture."""
        # Not the processor of both: SigLIP 2's has patch sizes of its own in place of the saved.
        return dict(self._processor.image_processor(images=image, return_tensors="pt"))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """[N, D] as the model gives them."""
        return by_length(texts, self._batch_size, self._embed_texts)

    @torch.no_grad()
    def encode_image(
        self, images: Sequence[Image.Image | Mapping[str, torch.Tensor]], /
    ) -> torch.Tensor:
        """Pictures, or what `prepare` made of them, to [N, D] as the model gives them."""
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        inputs = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        inputs = {name: self._place(tensor) for name, tensor in inputs.items()}
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

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._model.dtype if tensor.is_floating_point() else None
        return tensor.to(self.device, dtype)


def open_transformers(
    name: str, *, device: str, dtype: torch.dtype, batch_size: int
) -> TransformersEncoder:
    """A directory or a name on the hub.

    Raises:
        EncoderError: where there is no such model, it has no two towers with a joint space, or
            some of its weights are missing: transformers would leave those random.
    """
    transformers = import_library("transformers", install="transformers")
    transformers.utils.logging.disable_progress_bar()
    spec = f"transformers:{name}"
    hint = "name a directory that save_pretrained wrote, or owner/model on the hub"
    with opening(spec, hint=hint):
        config = transformers.AutoConfig.from_pretrained(name)
        kind = transformers.AutoModel
        if config.model_type == "blip" and "BlipModel" not in (config.architectures or ()):
            kind = transformers.BlipForImageTextRetrieval
        model, info = kind.from_pretrained(name, dtype=dtype, output_loading_info=True)
        processor = transformers.AutoProcessor.from_pretrained(name)
        model.to(device)
    _check_whole(spec, model, info)
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise EncoderError(
            f"{spec} has no tokenizer or no image processor; save both beside the model with "
            "processor.save_pretrained"
        )
    return TransformersEncoder(model, processor, spec, batch_size)


def _check_whole(spec: str, model: Any, info: Mapping[str, Any]) -> None:
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


def _text_limit(config: Any, tokenizer: Any) -> int | None:
    text = getattr(config, "text_config", config)
    table = getattr(text, "max_position_embeddings", None)
    if table and config.model_type in _LIMITED_BY_TABLE:
        return int(table)
    limits = [limit for limit in (table, tokenizer.model_max_length) if limit]
    return min((int(limit) for limit in limits if limit < _UNLIMITED), default=None)


def _pooled(features: Any) -> torch.Tensor:
    """Version 5 wraps what version 4 gives as it is."""
    pooled: torch.Tensor = getattr(features, "pooler_output", features)
    return pooled


_OPEN_CLIP_INSTALL = "open_clip_torch torchvision"
_OPEN_CLIP_FOLDERS = ("local-dir:", "hf-hub:")
_OPEN_CLIP_PRECISIONS = {
    torch.float32: "fp32",
    torch.bfloat16: "pure_bf16",
    torch.float16: "pure_fp16",
}


class OpenCLIPEncoder:
    """A model with open_clip's own tokenizer and evaluation transform."""

    def __init__(
        self, model: Any, tokenizer: Any, transform: Any, name: str, batch_size: int
    ) -> None:
        self.name = name
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._transform = transform
        self._batch_size = batch_size

    @property
    def context_length(self) -> int:
        """What the tokenizer pads and cuts to."""
        return int(self._tokenizer.context_length)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self._model.parameters()).device
        return device

    @cached_property
    def fingerprint(self) -> str:
        """Computed on first use."""
        open_clip = import_library("open_clip", install=_OPEN_CLIP_INSTALL)
        settings = {"library": f"open_clip {open_clip.__version__}"}
        return encoder_fingerprint(self._model, settings, self._tokenizer, self.prepare)

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """What the model's transform makes of one picture: float32 [3, H, W]."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """[N, D] as the model gives them."""
        return by_length(texts, self._batch_size, self._embed_texts)

    @torch.no_grad()
    def encode_image(self, images: Sequence[Image.Image | torch.Tensor], /) -> torch.Tensor:
        """Pictures, or what `prepare` made of them, to [N, D] as the model gives them."""
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        weight = next(self._model.visual.parameters())
        pixels = torch.stack(rows).to(weight.device, weight.dtype)
        features: torch.Tensor = self._model.encode_image(pixels)
        return features

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        features: torch.Tensor = self._model.encode_text(self._tokenizer(texts).to(self.device))
        return features


def open_openclip(
    name: str, *, device: str, dtype: torch.dtype, batch_size: int
) -> OpenCLIPEncoder:
    """ARCHITECTURE/WEIGHTS, where weights are one of open_clip's tags or a file, or
    local-dir:DIRECTORY, or hf-hub:OWNER/MODEL.

    Raises:
        EncoderError: where open_clip (or the torchvision it needs) is not there, or the model.
    """
    open_clip = import_library("open_clip", install=_OPEN_CLIP_INSTALL)
    spec = f"open_clip:{name}"
    architecture, _, weights = name.partition("/")
    if name.startswith(_OPEN_CLIP_FOLDERS):
        architecture, weights = name, ""
    elif architecture not in open_clip.list_models() or not weights:
        raise EncoderError(
            f"{spec}: write open_clip:ARCHITECTURE/WEIGHTS, with an architecture of "
            "open_clip.list_models() and weights of open_clip.list_pretrained() or a file; or "
            f"one of {', '.join(f'open_clip:{folder}…' for folder in _OPEN_CLIP_FOLDERS)}"
        )
    with opening(spec, hint="open_clip.list_pretrained() lists architectures and weights"):
        model, transform = open_clip.create_model_from_pretrained(
            architecture, weights or None, precision=_OPEN_CLIP_PRECISIONS[dtype], device=device
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    return OpenCLIPEncoder(model, tokenizer, transform, spec, batch_size)


_SENTENCE_TRANSFORMERS_INSTALL = "sentence-transformers"


class SentenceTransformersEncoder:
    """A `SentenceTransformer`, which tokenizes, resizes and batches by itself."""

    def __init__(self, model: Any, name: str, batch_size: int) -> None:
        self.name = name
        self._model = model.eval()
        self._batch_size = batch_size

    @property
    def context_length(self) -> int | None:
        """The model's max_seq_length."""
        length = self._model.max_seq_length
        return int(length) if length else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self._model.device)

    @cached_property
    def fingerprint(self) -> str:
        """Computed on first use."""
        library = import_library("sentence_transformers", install=_SENTENCE_TRANSFORMERS_INSTALL)
        transformers = import_library("transformers", install="transformers")
        settings = {
            "library": f"sentence-transformers {library.__version__}",
            "transformers": transformers.__version__,
            "context_length": self.context_length,
            "prompts": [self._model.prompts, self._model.default_prompt_name],
            "truncate_dim": self._model.truncate_dim,
        }
        # Before version 5.4 there is one name for both.
        inputs = getattr(self._model, "preprocess", None) or self._model.tokenize
        return encoder_fingerprint(self._model, settings, inputs, lambda image: inputs([image]))

    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """[N, D] as the model gives them."""
        return self._encode(texts)

    def encode_image(self, images: Sequence[Image.Image], /) -> torch.Tensor:
        """[N, D] as the model gives them."""
        return self._encode(images)

    def _encode(self, inputs: Sequence[str] | Sequence[Image.Image]) -> torch.Tensor:
        rows: torch.Tensor = self._model.encode(
            list(inputs),
            batch_size=self._batch_size,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return rows


def open_sentence_transformers(
    name: str, *, device: str, dtype: torch.dtype, batch_size: int
) -> SentenceTransformersEncoder:
    """A directory or a name on the hub.

    Raises:
        EncoderError: where there is no such model, or it reads texts only.
    """
    library = import_library("sentence_transformers", install=_SENTENCE_TRANSFORMERS_INSTALL)
    spec = f"sentence-transformers:{name}"
    with opening(spec, hint="name a directory, or owner/model on the hub"):
        model = library.SentenceTransformer(name, device=device)
        model.to(dtype)
    encoder = SentenceTransformersEncoder(model, spec, batch_size)
    with opening(spec, hint="name a model that embeds texts and pictures, such as CLIP"):
        encoder.encode_image([Image.new("RGB", (64, 64))])
    return encoder
