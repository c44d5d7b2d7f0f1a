"""Encoders of open_clip."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from longclip.encoders.encoder import Ids, LibraryTokenizer
from longclip.encoders.library import embed_by_length, import_library, loading_errors
from longclip.errors import EncoderError
from longclip.model.identity import encoder_fingerprint

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
        open_clip = import_library("open_clip", install=_OPEN_CLIP_INSTALL)
        settings = {"library": f"open_clip {open_clip.__version__}"}
        return encoder_fingerprint(self._model, settings, self._tokenizer, self.prepare)

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """Return what the model's transform makes of one picture: float32 [3, H, W]."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """Embed texts: [N, D] as the model gives them."""
        return embed_by_length(texts, self._batch_size, self._embed_texts)

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
    with loading_errors(spec, hint="open_clip.list_pretrained() lists architectures and weights"):
        model, transform = open_clip.create_model_from_pretrained(
            architecture, weights or None, precision=_OPEN_CLIP_PRECISIONS[dtype], device=device
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    return OpenCLIPEncoder(model, tokenizer, transform, spec, batch_size)
