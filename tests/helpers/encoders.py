"""A small encoder and a small collection, both pure functions of what they are given."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import Collection, LabelSet
from longclip.errors import ImageError
from longclip.text.tokenizer import clip_tokenizer

WIDTH = 16

# Vectors whose unit vectors floating point holds exactly, so that equal cosines of different
# vectors are exact ties; with so few directions, ties and copies are everywhere.
_SIGNS = st.sampled_from([-1, 1])
_AXES = st.builds(
    lambda axis, length: [length if i == axis else 0 for i in range(4)],
    st.integers(0, 3),
    st.sampled_from([-3, -1, 1, 2]),
)
_DIAGONALS = st.builds(
    lambda signs, length: [length * sign for sign in signs],
    st.lists(_SIGNS, min_size=4, max_size=4),
    st.sampled_from([1, 5]),
)
EXACT_VECTORS = _AXES | _DIAGONALS


def cosine(a, b):
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))


def vector_of(seed: object) -> torch.Tensor:
    digest = hashlib.sha256(repr(seed).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(WIDTH, generator=generator)


@dataclass
class BagOfTokens:
    """A text is the sum of its token vectors; an image is the text painted as its token ids."""

    context_length: int = 77
    texts_seen: list[object] = field(default_factory=list)

    def encode_text(
        self, texts: Sequence[str] | Sequence[Sequence[int]], /, *, normalize: bool = False
    ) -> torch.Tensor:
        self.texts_seen += texts
        rows = []
        for text in texts:
            ids = clip_tokenizer().encode([text])[0] if isinstance(text, str) else list(text)
            kept = ids[1:-1][: self.context_length - 2]
            rows.append(sum((vector_of(token) for token in kept), vector_of("bias")))
        return self._finish(rows, normalize)

    def encode_image(
        self, images: Sequence[Image.Image], /, *, normalize: bool = False
    ) -> torch.Tensor:
        rows = []
        for image in images:
            ids = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(-1, 3).long()
            tokens = (ids * torch.tensor([65536, 256, 1])).sum(1).tolist()
            rows.append(sum((vector_of(token) for token in tokens), vector_of("bias")))
        return self._finish(rows, normalize)

    @staticmethod
    def _finish(rows: list[torch.Tensor], normalize: bool) -> torch.Tensor:
        out = torch.stack(rows)
        return torch.nn.functional.normalize(out, dim=-1) if normalize else out


def painted(text: str) -> Image.Image:
    """One pixel per token of `text`."""
    ids = clip_tokenizer().encode([text])[0][1:-1]
    image = Image.new("RGB", (len(ids), 1))
    image.putdata([(i >> 16, i >> 8 & 255, i & 255) for i in ids])
    return image


@dataclass(frozen=True)
class PaintedTexts(Collection):
    """Image i is `pictures[i]` painted; None stands for a file that cannot be read."""

    pictures: tuple[str | None, ...]
    texts: tuple[Captions, ...] = ()
    labels: tuple[LabelSet, ...] = ()
    name: str = "painted/test"

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, index: int) -> Image.Image:
        picture = self.pictures[index]
        if picture is None:
            raise ImageError(f"{index}.png is broken")
        return painted(picture)

    def key(self, index: int) -> str:
        picture = self.pictures[index]
        if picture is None:
            raise ImageError(f"{index}.png is broken")
        return picture

    def captions(self, index: int) -> Captions:
        return self.texts[index] if self.texts else Captions()

    def label_sets(self) -> tuple[LabelSet, ...]:
        return self.labels
