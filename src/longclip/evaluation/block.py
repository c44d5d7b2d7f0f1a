"""A block of cosines: float32 says which rivals are ahead, float64 decides where it is close."""

from dataclasses import dataclass

import numpy as np
import torch

# Above this share of close calls one float64 product is cheaper than going through them.
_FEW = 1 / 128


@dataclass(frozen=True, eq=False)
class CosineBlock:
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
    def of(cls, images: torch.Tensor, texts: torch.Tensor) -> "CosineBlock":
        """From `UnitRows.rows` of the images, float64 [R, D], and of the texts, float64 [C, D]."""
        if images.device.type != "cpu":
            # There a float32 product may be TF32 inside, and float64 is fast enough.
            return cls(images, texts, images @ texts.T, 0.0)
        # By NumPy: torch's settings and autocast may turn a float32 product into a bfloat16 one.
        scores = torch.from_numpy(images.float().numpy() @ texts.float().numpy().T)
        return cls(images, texts, scores, float32_error(images.shape[1]))

    def leave_out(self, image: torch.Tensor, text: torch.Tensor) -> None:
        """Pairs (image[i], text[i]) that no longer reach any threshold."""
        self.scores[image, text] = -torch.inf

    def reaching(self, threshold: torch.Tensor, dim: int) -> torch.Tensor:
        """How many cosines along `dim` are at least `threshold`, exactly: int64 [C] or [R].

        `threshold` is float64, [C] for `dim` 0 and [R, 1] for `dim` 1.
        """
        if not self.error:
            return (self.scores >= threshold).sum(dim)
        above = self.scores - threshold.float()
        # A sum of floats is many times faster than one of booleans, and exact to 2^24.
        sure = torch.ge(above, self.error, out=torch.empty_like(above)).sum(dim).long()
        close = above.abs_() < self.error
        found = np.flatnonzero(close.numpy())  # torch's nonzero takes ten times as long
        if len(found) > _FEW * close.numel():
            return sure + (close & (self.images @ self.texts.T >= threshold)).sum(dim)
        image, text = map(torch.from_numpy, np.divmod(found, close.shape[1]))
        exact = torch.linalg.vecdot(self.images[image], self.texts[text])
        reached = exact >= threshold.expand(close.shape)[image, text]
        return sure.index_add_(0, text if dim == 0 else image, reached.long())


def float32_error(width: int) -> float:
    """How far a float32 cosine of vectors of that width can be from the exact one.

    With u = 2^-24 the products and sums lose at most width·u, whatever their order (Higham,
    Accuracy and Stability of Numerical Algorithms, section 3.1, with |x|·|y| = 1), rounding the
    two vectors 2u, rounding a threshold u/2; the rest is for terms of order u².
    """
    return (width + 8) * 2.0**-24
