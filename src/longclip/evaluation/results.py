"""Results of one model on one collection, in memory and as JSON that `longclip compare` reads."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from longclip import __version__
from longclip.errors import UsageError
from longclip.evaluation.choices import ChoiceResult
from longclip.evaluation.embed import BadImage
from longclip.evaluation.probes.details import DetailAccuracy
from longclip.evaluation.probes.lengths import LengthCurve
from longclip.evaluation.probes.monotonicity import Monotonicity
from longclip.evaluation.probes.perturbations import Perturbations
from longclip.evaluation.probes.sentence_probes import SentenceProbes
from longclip.evaluation.probes.separation import Separation
from longclip.evaluation.ranking import DIRECTIONS, RetrievalResult, TextPool
from longclip.evaluation.stats import (
    RecallIntervals,
    bootstrap_choices,
    bootstrap_recall,
    bootstrap_top1,
)
from longclip.evaluation.zero_shot import ZeroShotResult
from longclip.util.files import write_text
from longclip.util.regular_files import read_regular


@dataclass(frozen=True)
class TextProbes:
    """Probes of what recall hides, measured together on one pool of long texts."""

    lengths: LengthCurve
    sentences: SentenceProbes
    details: DetailAccuracy
    separation: Separation
    monotonicity: Monotonicity
    perturbations: Perturbations

    def to_json(self) -> dict[str, Any]:
        return {name: probe.to_json() for name, probe in vars(self).items()}


@dataclass(frozen=True)
class TextRetrieval:
    """Retrieval against one pool of texts.

    Attributes:
        recall: with the rank of every query.
        image_of_text: int64 [M], the row of the image that a text belongs to.
        truncated: texts that do not fit the encoder; None where it has no known limit.
        probes: what recall hides, where it was asked for.
        pool: the texts; None in results that were read from a file, like the next.
        embeddings: float32 [M, D], of the pool's texts.
    """

    recall: RetrievalResult
    image_of_text: torch.Tensor = field(repr=False, compare=False)
    truncated: int | None
    probes: TextProbes | None = None
    pool: TextPool | None = field(default=None, repr=False, compare=False)
    embeddings: torch.Tensor | None = field(default=None, repr=False, compare=False)

    def intervals(self) -> RecallIntervals:
        """Compute the 95 % bootstrap intervals of the recall, over images."""
        return bootstrap_recall(self.recall, self.image_of_text)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers for readers first, then what `from_json` needs."""
        ranks = self.recall.ranks
        return {
            **self.recall.to_json(),
            "truncated_texts": self.truncated,
            "intervals": self.intervals().to_json(),
            "probes": self.probes.to_json() if self.probes else None,
            "ranks": {name: getattr(ranks, name).tolist() for name in DIRECTIONS},
            "image_of_text": self.image_of_text.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TextRetrieval":
        """Read what `to_json` wrote, without probes."""
        image_of_text = torch.tensor(values["image_of_text"])
        return cls(RetrievalResult.from_json(values), image_of_text, values["truncated_texts"])


@dataclass(frozen=True)
class EvaluationResult:
    """Results of one model on one collection; what the collection lacks is None or absent.

    Attributes:
        name: the model's.
        collection: the data's, or the benchmark's.
        context_length: tokens the model reads; None where it has no known limit.
        images: that could be read, and `bad_images` those that could not.
        long, short: retrieval by long and by short texts.
        zero_shot: classification, by the name of the label set; `classes` has their names.
        choices: questions answered, by the name of their set.
        protocol: of the benchmark, in words; empty for other data.
        partial: whether a benchmark's data were not all that is published.
        fingerprint: of the data that were read.
        data: what they were taken for, see `longclip.data.summary.DataSummary`; one of each part.
        image_embeddings: float32 [images, D]; row r is the r-th image that could be read, number
            `image_indices[r]` of the collection. None and empty in results read from a file.
    """

    name: str
    collection: str
    context_length: int | None
    images: int
    bad_images: tuple[BadImage, ...]
    long: TextRetrieval | None
    short: TextRetrieval | None
    zero_shot: dict[str, ZeroShotResult]
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    choices: dict[str, ChoiceResult] = field(default_factory=dict)
    protocol: str = ""
    partial: bool = False
    fingerprint: str = ""
    data: list[dict[str, Any]] = field(default_factory=list)
    image_embeddings: torch.Tensor | None = field(default=None, repr=False, compare=False)
    image_indices: tuple[int, ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return everything but embeddings; intervals are computed for it."""
        return {
            "name": self.name,
            "collection": self.collection,
            "protocol": self.protocol,
            "partial": self.partial,
            "fingerprint": self.fingerprint,
            "data": self.data,
            "context_length": self.context_length,
            "images": self.images,
            "bad_images": [{"index": bad.index, "reason": bad.reason} for bad in self.bad_images],
            "long": self.long.to_json() if self.long else None,
            "short": self.short.to_json() if self.short else None,
            "zero_shot": {
                task: {
                    **result.to_json(),
                    "interval": bootstrap_top1(result).to_json(),
                    "class_names": list(self.classes.get(task, ())),
                    "targets": result.targets.tolist(),
                    "predictions": result.predictions.tolist(),
                }
                for task, result in self.zero_shot.items()
            },
            "choices": {
                name: {
                    **result.to_json(),
                    "intervals": {
                        score: bootstrap_choices(result, score).to_json()
                        for score in result.correct
                    },
                }
                for name, result in self.choices.items()
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EvaluationResult":
        """Read what `to_json` wrote, without probes and embeddings.

        Raises:
            KeyError: if something is missing; TypeError or ValueError if it is something else.
        """
        long, short = (values[k] and TextRetrieval.from_json(values[k]) for k in ("long", "short"))
        zero_shot: Mapping[str, Any] = values["zero_shot"]
        return cls(
            name=str(values["name"]),
            collection=str(values["collection"]),
            context_length=values["context_length"],
            images=int(values["images"]),
            bad_images=tuple(BadImage(b["index"], b["reason"]) for b in values["bad_images"]),
            long=long,
            short=short,
            zero_shot={
                task: ZeroShotResult.of(
                    torch.tensor(found["targets"]),
                    torch.tensor(found["predictions"]),
                    int(found["classes"]),
                )
                for task, found in zero_shot.items()
            },
            classes={task: tuple(found["class_names"]) for task, found in zero_shot.items()},
            choices={
                name: ChoiceResult.from_json(found)
                for name, found in values.get("choices", {}).items()
            },
            protocol=str(values["protocol"]),
            partial=bool(values["partial"]),
            fingerprint=str(values["fingerprint"]),
            data=list(values.get("data", ())),
        )


def as_json(results: Sequence[EvaluationResult]) -> str:
    """Write everything about the results but embeddings, a line for each."""
    lines = ",\n".join(json.dumps(result.to_json(), ensure_ascii=False) for result in results)
    return f'{{"longclip": "{__version__}", "results": [\n{lines}\n]}}\n'


def write_results(path: Path, results: Sequence[EvaluationResult]) -> None:
    """Write them whole or not at all."""
    write_text(path, as_json(results))


def read_all_results(paths: Sequence[Path]) -> list[EvaluationResult]:
    """Read the results of several files.

    Where a model comes twice on one collection, both get the names of their files as well.

    Raises:
        ValueError: as `read_results`.
    """
    found = [(path, result) for path in paths for result in read_results(path)]
    counts = Counter((result.name, result.collection) for _, result in found)
    return [
        replace(result, name=f"{result.name} ({path.stem})")
        if counts[result.name, result.collection] > 1
        else result
        for path, result in found
    ]


def read_results(path: Path) -> list[EvaluationResult]:
    """Read a file of `longclip eval --results`; it holds no embeddings.

    Raises:
        ValueError: if there is no such file or it holds something else; it is named.
    """
    remedy = "name a file that `longclip eval --results` wrote"
    try:
        content: Any = json.loads(read_regular(path))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}; make one: longclip eval --results") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory, not a file of results; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON ({error}); {remedy}") from None
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, list):
        raise UsageError(
            f"{path} holds no results of longclip eval, a JSON object with a list `results`; "
            f"{remedy}"
        )
    found = []
    for number, values in enumerate(results, 1):
        try:
            if not isinstance(values, dict):
                raise TypeError("it is no JSON object")
            found.append(EvaluationResult.from_json(values))
        except KeyError as error:
            raise UsageError(f"{path}, result {number}, has no {error}; {remedy}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{path}, result {number}, is no result of longclip eval ({error}); {remedy}"
            ) from None
    return found
