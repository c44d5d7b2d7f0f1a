"""Pools of images and texts, and exact ranks and recall of retrieval between them, both ways."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from longclip.data.captions import Captions
from longclip.data.collection import Collection
from longclip.errors import UsageError


@dataclass(frozen=True, eq=False)
class TextPool:
    """Texts that compete, and the image each belongs to.

    `image_rows` are rows of an embedding matrix, each with one text or more; `image_of_text` is
    int64 [M]: text t belongs to image `image_rows[image_of_text[t]]`.
    """

    texts: tuple[str, ...]
    image_rows: tuple[int, ...]
    image_of_text: torch.Tensor


def long_texts(captions: Captions) -> tuple[str, ...]:
    """Return the long descriptions; without any, two or more short captions joined in order.

    Joining is how a collection of short captions (Flickr, COCO) becomes one long text per image.
    A single short caption is no long text.
    """
    if captions.long:
        return captions.long
    return (" ".join(captions.short),) if len(captions.short) > 1 else ()


def short_texts(captions: Captions) -> tuple[str, ...]:
    """Return every short caption: each is a query, and each counts as a hit for its image."""
    return captions.short


def text_pool(
    collection: Collection,
    indices: Sequence[int],
    texts_of: Callable[[Captions], tuple[str, ...]],
) -> TextPool | None:
    """Return the pool over the images `indices` of the collection; row r is image `indices[r]`.

    Images without such a text are no part of it; where no image has one, there is no pool.
    """
    texts: list[str] = []
    image_rows: list[int] = []
    image_of_text: list[int] = []
    for row, index in enumerate(indices):
        own = texts_of(collection.captions(index))
        if own:
            image_of_text += [len(image_rows)] * len(own)
            image_rows.append(row)
            texts += own
    if not texts:
        return None
    return TextPool(tuple(texts), tuple(image_rows), torch.tensor(image_of_text, dtype=torch.int64))


# A float32 matrix product rounds differently with the shape of the block, so two copies of one
# image may miss their tie and a positive recomputed on its own may not equal itself. Unit vectors
# rounded to multiples of 2^-26 have products that are multiples of 2^-52, and by Cauchy-Schwarz
# every partial sum stays below 2: float64 holds all of them exactly. Such cosines are the same
# in every order, block shape and thread count, and nearer to the true ones than float32's (the
# grid moves a cosine by about 1e-8).
_GRID = 2.0**26


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Embeddings [N, D] with the norms [N] that bring them to length one, block by block."""

    embeddings: torch.Tensor
    norms: torch.Tensor

    @classmethod
    def of(cls, embeddings: torch.Tensor, what: str) -> "UnitRows":
        """Check and measure `embeddings`, floating point [N, D]; `what` names them in errors.

        Raises:
            ValueError: where a row has no direction: NaN would otherwise beat no rival and so be
                ranked first.
        """
        if embeddings.ndim != 2 or not embeddings.is_floating_point():
            raise UsageError(
                f"{what} must be a floating-point tensor [rows, width], "
                f"not {embeddings.dtype} {list(embeddings.shape)}"
            )
        norms = torch.linalg.vector_norm(embeddings, dim=1, dtype=torch.float64)
        bad = (~norms.isfinite() | (norms == 0)).nonzero().flatten().tolist()
        if bad:
            raise UsageError(
                f"{len(bad)} of {len(norms)} {what} are zero or not finite (first: row {bad[0]}); "
                "look for a broken checkpoint or a half-precision overflow in the encoder"
            )
        return cls(embeddings.detach(), norms.detach())

    def __len__(self) -> int:
        return len(self.norms)

    def rows(self, index: slice | torch.Tensor) -> torch.Tensor:
        """Return those rows at unit length, rounded to the grid: float64 [n, D]."""
        unit = self.embeddings[index].double()
        return unit.div_(self.norms[index, None]).mul_(_GRID).round_().div_(_GRID)


def paired_cosines(
    images: torch.Tensor, image_of_text: torch.Tensor, texts: torch.Tensor
) -> torch.Tensor:
    """Return the cosine of text t with image `image_of_text[t]`, exactly: float64 [M], on the CPU.

    Embeddings are [N, D] and [M, D]. Equal embeddings have equal cosines.
    """
    own = UnitRows.of(images, "image embeddings").rows(image_of_text.to(images.device))
    rows = UnitRows.of(texts.to(images.device), "text embeddings").rows(slice(None))
    cosines: torch.Tensor = torch.linalg.vecdot(own, rows)
    return cosines.cpu()


# Above this share of close calls one float64 product is cheaper than going through them.
_MAX_CLOSE_SHARE = 1 / 128


@dataclass(frozen=True, eq=False)
class _CosineBlock:
    """Cosines `scores` [R, C] of images with texts, each within `error` of the exact one.

    A float32 product takes half the time of a float64 one and is wrong by at most `error`. So it
    decides on every rival but those within `error` of the threshold, of which a block seldom
    holds more than one in a thousand; they are computed again, exactly, from the unit rows.
    """

    images: torch.Tensor
    texts: torch.Tensor
    scores: torch.Tensor
    error: float

    @classmethod
    def of(cls, images: torch.Tensor, texts: torch.Tensor) -> "_CosineBlock":
        """Multiply `UnitRows.rows` of the images, float64 [R, D], with the texts', [C, D]."""
        if images.device.type != "cpu":
            # There a float32 product may be TF32 inside, and float64 is fast enough.
            return cls(images, texts, images @ texts.T, 0.0)
        # By NumPy: torch's settings and autocast may turn a float32 product into a bfloat16 one.
        scores = torch.from_numpy(images.float().numpy() @ texts.float().numpy().T)
        # With u = 2^-24 the products and sums lose at most width·u, whatever their order (Higham,
        # Accuracy and Stability of Numerical Algorithms, section 3.1, with |x|·|y| = 1), rounding
        # the two vectors 2u, rounding a threshold u/2; the rest is for terms of order u².
        return cls(images, texts, scores, (images.shape[1] + 8) * 2.0**-24)

    def leave_out(self, image: torch.Tensor, text: torch.Tensor) -> None:
        """Let pairs (image[i], text[i]) no longer reach any threshold."""
        self.scores[image, text] = -torch.inf

    def reaching(self, threshold: torch.Tensor, dim: int) -> torch.Tensor:
        """Count the cosines along `dim` that are at least `threshold`, exactly: int64 [C] or [R].

        `threshold` is float64, [C] for `dim` 0 and [R, 1] for `dim` 1.
        """
        if not self.error:
            return (self.scores >= threshold).sum(dim)
        above = self.scores - threshold.float()
        # A sum of floats is many times faster than one of booleans, and exact to 2^24.
        sure = torch.ge(above, self.error, out=torch.empty_like(above)).sum(dim).long()
        close = above.abs_() < self.error
        found = np.flatnonzero(close.numpy())  # torch's nonzero takes ten times as long
        if len(found) > _MAX_CLOSE_SHARE * close.numel():
            return sure + (close & (self.images @ self.texts.T >= threshold)).sum(dim)
        image, text = map(torch.from_numpy, np.divmod(found, close.shape[1]))
        exact = torch.linalg.vecdot(self.images[image], self.texts[text])
        reached = exact >= threshold.expand(close.shape)[image, text]
        return sure.index_add_(0, text if dim == 0 else image, reached.long())


@dataclass(frozen=True, eq=False)
class RetrievalRanks:
    """Ranks from 1. Ties count against the model: a rival with the same cosine stands before.

    `image_to_text`, int64 [N]: of each image's best own text among the texts of other images.
    `text_to_image`, int64 [M]: of each text's own image among all images.
    """

    image_to_text: torch.Tensor
    text_to_image: torch.Tensor


DIRECTIONS = ("image_to_text", "text_to_image")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class BothWays(Generic[T]):
    """A value at each k for both directions of retrieval.

    In JSON it is `{"image_to_text": {"R@1": …, …}, "text_to_image": {"R@1": …, …}}`.
    """

    image_to_text: dict[int, T]
    text_to_image: dict[int, T]

    def to_json(self) -> dict[str, Any]:
        """Return both directions; a value with a `to_json` of its own is written by that."""
        return {
            direction: {
                f"R@{k}": value.to_json() if hasattr(value, "to_json") else value
                for k, value in getattr(self, direction).items()
            }
            for direction in DIRECTIONS
        }


def both_ways(ks: Sequence[int], values: Sequence[T]) -> dict[str, dict[int, T]]:
    """Divide values into those of images to text at each of `ks`, then of texts to image."""
    return {
        direction: dict(zip(ks, values[start : start + len(ks)], strict=True))
        for direction, start in zip(DIRECTIONS, (0, len(ks)), strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class RetrievalResult(BothWays[float]):
    """Recall at K as fractions of 1, with the pool sizes without which they mean nothing.

    `image_to_text[k]`: images with at least one own text among the first k texts.
    `text_to_image[k]`: texts with their image among the first k images.
    """

    images: int
    texts: int
    ranks: RetrievalRanks = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {"images": self.images, "texts": self.texts, **super().to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RetrievalResult":
        """Read what `to_json` wrote, and the ranks beside it, lists by direction."""
        recalls = {
            direction: {int(k.removeprefix("R@")): float(v) for k, v in values[direction].items()}
            for direction in DIRECTIONS
        }
        ranks = {direction: torch.tensor(values["ranks"][direction]) for direction in DIRECTIONS}
        return cls(
            images=int(values["images"]),
            texts=int(values["texts"]),
            **recalls,
            ranks=RetrievalRanks(**ranks),
        )


def retrieval_recall(
    image_embeddings: torch.Tensor,
    text_embeddings: torch.Tensor,
    image_of_text: torch.Tensor,
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk_size: int = 2048,
) -> RetrievalResult:
    """Compute recall at each of `ks` by cosine; arguments as in `retrieval_ranks`."""
    if not ks or min(ks) < 1:
        raise UsageError(f"ks must be one or more numbers from 1 up, not {tuple(ks)}")
    ranks = retrieval_ranks(image_embeddings, text_embeddings, image_of_text, chunk_size=chunk_size)
    recalls = [
        (found <= k).double().mean().item()
        for found in (ranks.image_to_text, ranks.text_to_image)
        for k in ks
    ]
    return RetrievalResult(
        images=len(image_embeddings),
        texts=len(text_embeddings),
        **both_ways(ks, recalls),
        ranks=ranks,
    )


def retrieval_ranks(
    image_embeddings: torch.Tensor,
    text_embeddings: torch.Tensor,
    image_of_text: torch.Tensor,
    *,
    chunk_size: int = 2048,
) -> RetrievalRanks:
    """Rank every image's texts and every text's image in one pass over the similarities.

    `image_embeddings` [N, D] and `text_embeddings` [M, D], of any length; `image_of_text`, int64
    [M], is the row of the image that a text belongs to. Runs on the images' device. Blocks of
    `chunk_size` images by `chunk_size` texts bound the extra memory (0.6 GB at 2048 for D = 512
    and 31,000 images with 155,000 texts) and never change a rank.

    Raises:
        ValueError: where an image has no text, or `image_of_text` points outside the images.
    """
    if chunk_size < 1:
        raise UsageError(f"chunk_size must be at least 1, not {chunk_size}")
    images = UnitRows.of(image_embeddings, "image embeddings")
    texts = UnitRows.of(text_embeddings.to(image_embeddings.device), "text embeddings")
    image_of_text = image_of_text.to(image_embeddings.device)
    _check_pairs(images, texts, image_of_text)

    # Cosine of each text with its own image, float64 [M]: exactly what the blocks will hold.
    own_score = torch.cat(
        [
            (images.rows(image_of_text[t]) * texts.rows(t)).sum(1)
            for t in _blocks(len(texts), chunk_size)
        ]
    )
    best_score = own_score.new_full((len(images),), -torch.inf)
    best_score.scatter_reduce_(0, image_of_text, own_score, "amax")

    texts_ahead = torch.zeros_like(best_score, dtype=torch.int64)
    images_ahead = torch.zeros_like(image_of_text)
    for t in _blocks(len(texts), chunk_size):
        text_rows = texts.rows(t)
        for i in _blocks(len(images), chunk_size):
            block = _CosineBlock.of(images.rows(i), text_rows)
            block.leave_out(*_own_pairs(image_of_text[t], i))
            images_ahead[t] += block.reaching(own_score[t], dim=0)
            texts_ahead[i] += block.reaching(best_score[i, None], dim=1)
    return RetrievalRanks(image_to_text=texts_ahead + 1, text_to_image=images_ahead + 1)


def strongest_rivals(
    image_embeddings: torch.Tensor,
    text_embeddings: torch.Tensor,
    image_of_text: torch.Tensor,
    *,
    chunk_size: int = 2048,
) -> torch.Tensor:
    """Return for each text the image nearest to it that is not its own: int64 [M].

    Where a text's rank is above 1, this is the image that the model returns first.
    """
    if len(image_embeddings) < 2:
        raise UsageError("a rival needs at least two images")
    images = UnitRows.of(image_embeddings, "image embeddings")
    texts = UnitRows.of(text_embeddings.to(image_embeddings.device), "text embeddings")
    image_of_text = image_of_text.to(image_embeddings.device)
    _check_pairs(images, texts, image_of_text)

    best = images.norms.new_full((len(texts),), -torch.inf)
    rival = torch.zeros_like(image_of_text)
    for i in _blocks(len(images), chunk_size):
        image_rows = images.rows(i)
        for t in _blocks(len(texts), chunk_size):
            scores = image_rows @ texts.rows(t).T
            scores[_own_pairs(image_of_text[t], i)] = -torch.inf
            score, row = scores.max(0)
            rival[t] = torch.where(score > best[t], row + i.start, rival[t])
            best[t] = torch.maximum(score, best[t])
    return rival


def _check_pairs(images: UnitRows, texts: UnitRows, image_of_text: torch.Tensor) -> None:
    if image_of_text.dtype != torch.int64 or image_of_text.shape != (len(texts),):
        raise UsageError(
            f"image_of_text must be int64 [{len(texts)}], one image row per text, "
            f"not {image_of_text.dtype} {list(image_of_text.shape)}"
        )
    width, text_width = images.embeddings.shape[1], texts.embeddings.shape[1]
    if width != text_width:
        raise UsageError(
            f"images have width {width} and texts {text_width}: embed both with the same model"
        )
    if not len(images) or not len(texts):
        raise UsageError(f"nothing to rank: {len(images)} images, {len(texts)} texts")
    low, high = int(image_of_text.min()), int(image_of_text.max())
    if low < 0 or high >= len(images):
        raise UsageError(
            f"image_of_text holds {low if low < 0 else high}, outside the {len(images)} images"
        )
    counts = torch.bincount(image_of_text, minlength=len(images))
    without = (counts == 0).nonzero().flatten().tolist()
    if without:
        raise UsageError(
            f"{len(without)} of {len(images)} images have no text (first: row {without[0]}); "
            "take them out of the pool"
        )


def _own_pairs(owners: torch.Tensor, images: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pairs (image, text) that belong together, as rows and columns of a block."""
    texts = ((owners >= images.start) & (owners < images.stop)).nonzero().flatten()
    return owners[texts] - images.start, texts


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
