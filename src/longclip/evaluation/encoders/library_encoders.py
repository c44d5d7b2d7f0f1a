"""Encoders of other libraries: transformers, open_clip and sentence-transformers."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from longclip.errors import EncoderError
from longclip.model.identity import encoder_fingerprint


def _import_library(name: str, *, install: str) -> Any:
    """Import an optional library, or raise an EncoderError with what to install."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a torchvision for another torch raises RuntimeError
        raise EncoderError(
            f"{name} cannot be imported ({_first_line(error)}); pip install {install}"
        ) from error


@contextmanager
def loading_errors(spec: str, *, hint: str) -> Iterator[None]:
    """Turn whatever a library raises while it loads `spec` into an EncoderError."""
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:  # each library and version fails in its own ways
        raise EncoderError(f"{spec} cannot be opened: {_first_line(error)}; {hint}") from error


def _embed_by_length(
    texts: Sequence[str], batch_size: int, embed: Callable[[list[str]], torch.Tensor]
) -> torch.Tensor:
    """Embed texts in batches of about the same length: [N, D] in the order of `texts`."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = [
        embed([texts[i] for i in order[start : start + batch_size]])
        for start in range(0, len(order), batch_size)
    ]
    return torch.cat(parts)[torch.tensor(order).argsort().to(parts[0].device)]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


Ids = list[list[int]]


class LibraryTokenizer:
    """A library's own tokenizer, by which it is told which texts its encoder cuts.

    Args:
        ids: of texts, without padding or all padded alike; whole where the length is None.
    """

    def __init__(self, ids: Callable[[list[str], int | None], Ids]) -> None:
        self._ids = ids

    def encode(self, texts: Sequence[str], *, context_length: int | None = None) -> Ids:
        """Return one list of ids per text, cut by the library where a length is given."""
        return [list(map(int, ids)) for ids in self._ids(list(texts), context_length)]


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
        transformers = _import_library("transformers", install="transformers")
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
        return _embed_by_length(texts, self._batch_size, self._embed_texts)

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
    transformers = _import_library("transformers", install="transformers")
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
        """Tokens that the tokenizer pads and cuts to."""
        return int(self._tokenizer.context_length)

    @property
    def tokenizer(self) -> LibraryTokenizer | None:
        """The model's tokenizer; None of a kind that cannot be asked for the ids of whole texts."""
        own = self._tokenizer
        whole: Callable[[list[str]], Ids]
        if hasattr(own, "sot_token_id"):  # CLIP's

            def whole(texts: list[str]) -> Ids:
                return [[own.sot_token_id, *own.encode(text), own.eot_token_id] for text in texts]

        elif hasattr(own, "clean_fn") and getattr(own, "tokenizer_mode", "") != "clips":

            def whole(texts: list[str]) -> Ids:
                cleaned = [own.clean_fn(text) for text in texts]
                found: Ids = own.tokenizer(cleaned, verbose=False)["input_ids"]
                return found

        else:
            return None

        def ids(texts: list[str], length: int | None) -> Ids:
            return whole(texts) if length is None else own(texts, length).tolist()

        return LibraryTokenizer(ids)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = next(self._model.parameters()).device
        return device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights and settings, computed on first use."""
        open_clip = _import_library("open_clip", install=_OPEN_CLIP_INSTALL)
        settings = {"library": f"open_clip {open_clip.__version__}"}
        return encoder_fingerprint(self._model, settings, self._tokenizer, self.prepare)

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """Return what the model's transform makes of one picture: float32 [3, H, W]."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """Embed texts: [N, D] as the model gives them."""
        return _embed_by_length(texts, self._batch_size, self._embed_texts)

    @torch.no_grad()
    def encode_image(self, images: Sequence[Image.Image | torch.Tensor], /) -> torch.Tensor:
        """Embed pictures, or what `prepare` made of them: [N, D] as the model gives them."""
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        weight = next(self._model.visual.parameters())
        pixels = torch.stack(rows).to(weight.device, weight.dtype)
        features: torch.Tensor = self._model.encode_image(pixels)
        return features

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        features: torch.Tensor = self._model.encode_text(self._tokenizer(texts).to(self.device))
        return features


def open_open_clip(
    name: str, *, device: str, dtype: torch.dtype, batch_size: int
) -> OpenCLIPEncoder:
    """Open ARCHITECTURE/WEIGHTS, local-dir:DIRECTORY or hf-hub:OWNER/MODEL.

    Weights are one of open_clip's tags, or a file.

    Raises:
        EncoderError: where open_clip (or the torchvision it needs) is not there, or the model.
    """
    open_clip = _import_library("open_clip", install=_OPEN_CLIP_INSTALL)
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
    with loading_errors(spec, hint="open_clip.list_pretrained() lists architectures and weights"):
        model, transform = open_clip.create_model_from_pretrained(
            architecture, weights or None, precision=_OPEN_CLIP_PRECISIONS[dtype], device=device
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    return OpenCLIPEncoder(model, tokenizer, transform, spec, batch_size)


_SENTENCE_TRANSFORMERS_INSTALL = "sentence-transformers"


class SentenceTransformersEncoder:
    """A `SentenceTransformer`, which tokenizes, resizes and batches by itself.

    It must embed texts and pictures.
    """

    def __init__(self, model: Any, name: str, batch_size: int) -> None:
        self.name = name
        self._model = model.eval()
        self._batch_size = batch_size

    @property
    def context_length(self) -> int | None:
        """Return the model's max_seq_length, where it has one."""
        length = self._model.max_seq_length
        return int(length) if length else None

    @property
    def tokenizer(self) -> LibraryTokenizer | None:
        """The model's tokenizer; None where it is not one of transformers."""
        transformers = _import_library("transformers", install="transformers")
        own = getattr(self._model, "tokenizer", None)
        own = getattr(own, "tokenizer", own)  # of a processor
        if not isinstance(own, transformers.PreTrainedTokenizerBase):
            return None
        prompt = self._model.prompts.get(self._model.default_prompt_name) or ""

        def ids(texts: list[str], length: int | None) -> Ids:
            prompted = [(prompt + text).strip() for text in texts]
            cut = {"truncation": length is not None, "max_length": length, "padding": False}
            found: Ids = own(prompted, verbose=False, **cut)["input_ids"]
            return found

        return LibraryTokenizer(ids)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return torch.device(self._model.device)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights and settings, computed on first use."""
        library = _import_library("sentence_transformers", install=_SENTENCE_TRANSFORMERS_INSTALL)
        transformers = _import_library("transformers", install="transformers")
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
        """Embed texts: [N, D] as the model gives them."""
        return self._encode(texts)

    def encode_image(self, images: Sequence[Image.Image], /) -> torch.Tensor:
        """Embed pictures: [N, D] as the model gives them."""
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
    """Open a directory or a name on the hub.

    Raises:
        EncoderError: where there is no such model, or it reads texts only.
    """
    library = _import_library("sentence_transformers", install=_SENTENCE_TRANSFORMERS_INSTALL)
    spec = f"sentence-transformers:{name}"
    with loading_errors(spec, hint="name a directory, or owner/model on the hub"):
        model = library.SentenceTransformer(name, device=device)
        model.to(dtype)
    encoder = SentenceTransformersEncoder(model, spec, batch_size)
    with loading_errors(spec, hint="name a model that embeds texts and pictures, such as CLIP"):
        encoder.encode_image([Image.new("RGB", (64, 64))])
    return encoder
