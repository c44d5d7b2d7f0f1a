"""What search, indexing, serving and evaluation need of a CLIP, whichever engine computes it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.image.preprocess import Preprocess
from longclip.model.config import CLIPConfig
from longclip.model.micro_batches import SMALL_TOKEN_BUDGET
from longclip.text.tokenizer import TextTokenizer, fitting_ids

if TYPE_CHECKING:
    from longclip.model import CLIP

Vectors = NDArray[np.float32]

AnyModel = Union["CLIP", "ModelEncoder"]
"""What functions of the Python API take: see `as_encoder`."""


class ModelEncoder(ABC):
    """A CLIP of ours: an `Encoder` whose parts are known.

    Embeddings are float32 [N, D] in main memory, not of length one. May be used by several threads.

    Attributes:
        name: what errors call it: what it was opened from.
    """

    name: str

    @property
    @abstractmethod
    def engine(self) -> str:
        """What computes it, and with which numbers, for people: `torch, float32`."""

    @property
    def batch_tokens(self) -> int:
        """Tokens, of texts or of pictures, that are best computed at once."""
        return SMALL_TOKEN_BUDGET

    @property
    def processors(self) -> int:
        """Processors that several batches at a time may share; 1 where it takes one at a time."""
        return 1

    def share_processors(self, batches: int) -> None:
        """Let the calling thread compute on its share of them, as one of so many batches.

        Batches that each have a processor of their own wait for nobody. One that has all of them
        waits at the end of each matrix product for threads that others keep from running.
        """
        assert batches > 0

    @property
    @abstractmethod
    def config(self) -> CLIPConfig:
        """Shape of the towers."""

    @property
    @abstractmethod
    def preprocess(self) -> Preprocess:
        """Way in which pictures become pixels."""

    @property
    @abstractmethod
    def tokenizer(self) -> TextTokenizer:
        """Converter of texts to the model's ids."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hash by which a database knows the model: `longclip.model.identity.model_digest`."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of all that changes a digit of an embedding, see `Encoder`."""

    @abstractmethod
    def check_tokenizer(self) -> None:
        """Raise CheckpointError where texts cannot be read: `longclip.model.own_tokenizer`."""

    @abstractmethod
    def to(self, device: str) -> "ModelEncoder":
        """Return it on that device; UsageError where the engine does not compute there."""

    @abstractmethod
    def embed_ids(self, ids: Sequence[Sequence[int]]) -> Vectors:
        """Embed the ids of texts, begin and end included, of at most `context_length` each.

        Raises:
            UsageError: if there are too many ids in one, or one that is not in the vocabulary.
            EncoderError: if the model gives numbers that are not finite.
        """

    @abstractmethod
    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed uint8 [N, image_size, image_size, 3], as `prepare` leaves pictures, at once.

        Raises:
            EncoderError: if the model gives numbers that are not finite.
        """

    @property
    def context_length(self) -> int:
        """Tokens of a text, begin and end included; longer texts are cut."""
        assert self.config.text
        return self.config.text.max_position_embeddings

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        assert self.config.text
        return self.config.text.vocab_size

    @property
    def pad_token_id(self) -> int:
        """Id that fills the places behind a text."""
        assert self.config.text
        return self.config.text.pad_token_id

    @property
    def embedding_dim(self) -> int:
        """Width D of embeddings."""
        return self.config.embedding_dim

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop a picture: uint8 [image_size, image_size, 3]."""
        return self.preprocess.pixels(image)

    def encode_text(self, texts: Sequence[str], /) -> Vectors:
        """Embed texts; those that are too long are cut, with a `TruncationWarning`."""
        return self.embed_ids(fitting_ids(texts, self.context_length, self.tokenizer, stacklevel=3))

    def encode_image(self, images: Sequence[Image.Image | NDArray[np.uint8]], /) -> Vectors:
        """Embed pictures, or what `prepare` made of them."""
        if not len(images):
            return np.empty((0, self.embedding_dim), np.float32)
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        return self.embed_pixels(np.stack(rows))


def as_encoder(model: AnyModel) -> ModelEncoder:
    """Return a CLIP as an encoder computed by torch; what is an encoder already stays as it is.

    Raises:
        UsageError: if it is neither.
    """
    if isinstance(model, ModelEncoder):
        return model
    from longclip.encoders.clip_encoder import CLIPEncoder  # whoever has a CLIP has torch, too

    return CLIPEncoder(model)


def unit(vectors: NDArray[Any]) -> Vectors:
    """Divide each row by its length."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    divided: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return divided
