"""Encoders of sentence-transformers."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from longclip.encoders.encoder import Ids, LibraryTokenizer
from longclip.encoders.library import import_library, loading_errors
from longclip.model.identity import encoder_fingerprint

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
        transformers = import_library("transformers", install="transformers")
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
    library = import_library("sentence_transformers", install=_SENTENCE_TRANSFORMERS_INSTALL)
    spec = f"sentence-transformers:{name}"
    with loading_errors(spec, hint="name a directory, or owner/model on the hub"):
        model = library.SentenceTransformer(name, device=device)
        model.to(dtype)
    encoder = SentenceTransformersEncoder(model, spec, batch_size)
    with loading_errors(spec, hint="name a model that embeds texts and pictures, such as CLIP"):
        encoder.encode_image([Image.new("RGB", (64, 64))])
    return encoder
