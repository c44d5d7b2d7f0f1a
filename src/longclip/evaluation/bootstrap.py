"""How far recall and accuracy would move with other images: percentile bootstrap intervals."""

from dataclasses import dataclass
from typing import Any

import torch

from longclip.errors import UsageError
from longclip.evaluation.metrics import RetrievalResult
from longclip.evaluation.zero_shot import ZeroShotResult

# Draws per block of resamples: 16 MB of image numbers.
_DRAWS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A measured `value` and where it lies in the middle `level` of the resamples."""

    value: float
    low: float
    high: float
    level: float

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "level": self.level}


@dataclass(frozen=True)
class RecallIntervals:
    """Intervals of recall at each k, as fractions of 1."""

    resamples: int
    image_to_text: dict[int, Interval]
    text_to_image: dict[int, Interval]

    def to_json(self) -> dict[str, Any]:
        return {
            "resamples": self.resamples,
            "image_to_text": {f"R@{k}": i.to_json() for k, i in self.image_to_text.items()},
            "text_to_image": {f"R@{k}": i.to_json() for k, i in self.text_to_image.items()},
        }


def bootstrap_recall(
    recall: RetrievalResult,
    image_of_text: torch.Tensor,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> RecallIntervals:
    """Percentile bootstrap (Efron 1979) of every recall in `recall`.

    Images are drawn with replacement and take all their texts along, since five captions of one
    picture are not five independent queries. Ranks stay those of the whole pool: the interval is
    about which pictures are asked for, not about a pool of another size. Draws are the same for
    every k, direction and model of the same number of images.

    `image_of_text`, int64 [M], is what the recall was measured with.
    """
    ks = tuple(recall.image_to_text)
    hits, counts = hits_per_image(recall, image_of_text, ks)
    drawn = resampled_ratios(hits, counts, resamples=resamples, seed=seed)
    intervals = percentile_intervals(hits.sum(0) / counts.sum(0), drawn, level)
    return RecallIntervals(
        resamples=resamples,
        image_to_text=dict(zip(ks, intervals[: len(ks)], strict=True)),
        text_to_image=dict(zip(ks, intervals[len(ks) :], strict=True)),
    )


def bootstrap_top1(
    result: ZeroShotResult, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of top-1 accuracy over images."""
    hits = (result.predictions == result.targets).double()[:, None]
    counts = torch.ones_like(hits)
    drawn = resampled_ratios(hits, counts, resamples=resamples, seed=seed)
    return percentile_intervals(hits.mean(0), drawn, level)[0]


def hits_per_image(
    recall: RetrievalResult, image_of_text: torch.Tensor, ks: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hits and queries, float64 [N, 2·len(ks)], of which recall is the ratio of sums.

    The columns are image to text at each k, then text to image at each k: there a row sums over
    the texts of the image.
    """
    image_of_text = image_of_text.cpu()
    if image_of_text.shape != (recall.texts,):
        raise UsageError(
            f"image_of_text is {list(image_of_text.shape)}, but recall was measured on "
            f"{recall.texts} texts: give the pool it was measured on"
        )
    limits = torch.tensor(ks)
    of_images = (recall.ranks.image_to_text.cpu()[:, None] <= limits).double()
    of_texts = (recall.ranks.text_to_image.cpu()[:, None] <= limits).double()
    of_texts = torch.zeros_like(of_images).index_add_(0, image_of_text, of_texts)
    texts = torch.bincount(image_of_text, minlength=recall.images).double()
    queries = torch.ones_like(of_images), texts[:, None].expand_as(of_texts)
    return torch.cat([of_images, of_texts], 1), torch.cat(queries, 1)


def resampled_ratios(
    hits: torch.Tensor, counts: torch.Tensor, *, resamples: int, seed: int
) -> torch.Tensor:
    """Σ hits / Σ counts over N rows drawn with replacement, float64 [resamples, K].

    Both are float64 [N, K]. A resample is how often each row was drawn, so all of them together
    are a matrix product.
    """
    if resamples < 100:
        raise UsageError(f"resamples must be at least 100 for an interval, not {resamples}")
    rows = len(hits)
    generator = torch.Generator().manual_seed(seed)
    table, parts = torch.cat([hits, counts], 1), []
    step = max(1, _DRAWS // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = torch.randint(rows, (size, rows), generator=generator)
        drawn += torch.arange(size)[:, None] * rows
        times = torch.bincount(drawn.flatten(), minlength=size * rows).view(size, rows)
        parts.append(times.double() @ table)
    top, bottom = torch.cat(parts).chunk(2, dim=1)
    return top / bottom


def percentile_intervals(
    values: torch.Tensor, drawn: torch.Tensor, level: float
) -> tuple[Interval, ...]:
    """One interval for each of `values` [K] from its resamples `drawn` [resamples, K]."""
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, such as 0.95, not {level}")
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(drawn, tails, dim=0).tolist()
    return tuple(
        Interval(*bounds, level) for bounds in zip(values.tolist(), low, high, strict=True)
    )
