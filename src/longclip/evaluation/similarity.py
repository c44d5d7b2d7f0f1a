"""Cosine similarities that do not depend on how the work was cut into blocks."""

from dataclasses import dataclass

import torch

from longclip.errors import UsageError

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

        Raises ValueError where a row has no direction: NaN would otherwise beat no rival and so
        be ranked first.
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
        """Those rows, unit length, on the grid: float64 [n, D]."""
        unit = self.embeddings[index].double()
        return unit.div_(self.norms[index, None]).mul_(_GRID).round_().div_(_GRID)
