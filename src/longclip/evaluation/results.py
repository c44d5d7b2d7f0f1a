"""Results of one model on one collection, in memory and as JSON that `longclip compare` reads.

What recall hides, measured together on one pool of long texts.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from longclip import __version__
from longclip.errors import UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import BadImage
from longclip.evaluation.encoders.encoder import Encoder
from longclip.evaluation.probes.details import DetailAccuracy, detail_accuracy
from longclip.evaluation.probes.lengths import LengthCurve, recall_by_length
from longclip.evaluation.probes.sentence_probes import SentenceProbes, sentence_probes
from longclip.evaluation.probes.separation import Separation, separation
from longclip.evaluation.ranking import RetrievalRanks, RetrievalResult, TextPool
from longclip.evaluation.stats import RecallIntervals, bootstrap_recall, bootstrap_top1
from longclip.evaluation.zero_shot import ZeroShotResult
from longclip.util.files import write_text
from longclip.util.terminal import SILENT, OnProgress


@dataclass(frozen=True)
class TextProbes:
    """How long texts are read, which sentences and details count, how far embeddings lie apart."""

    lengths: LengthCurve
    sentences: SentenceProbes
    details: DetailAccuracy
    separation: Separation

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
        """95 % bootstrap intervals of the recall, over images."""
        return bootstrap_recall(self.recall, self.image_of_text)

    def to_json(self) -> dict[str, Any]:
        """Numbers for readers first, then what `from_json` needs."""
        ranks = self.recall.ranks
        return {
            **self.recall.to_json(),
            "truncated_texts": self.truncated,
            "intervals": self.intervals().to_json(),
            "probes": self.probes.to_json() if self.probes else None,
            "ranks": {
                "image_to_text": ranks.image_to_text.tolist(),
                "text_to_image": ranks.text_to_image.tolist(),
            },
            "image_of_text": self.image_of_text.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TextRetrieval":
        """What `to_json` wrote, without probes."""
        ranks = {name: torch.tensor(values["ranks"][name]) for name in _DIRECTIONS}
        recalls = {
            name: {int(k.removeprefix("R@")): float(v) for k, v in values[name].items()}
            for name in _DIRECTIONS
        }
        recall = RetrievalResult(
            int(values["images"]), int(values["texts"]), **recalls, ranks=RetrievalRanks(**ranks)
        )
        image_of_text = torch.tensor(values["image_of_text"])
        return cls(recall, image_of_text, values["truncated_texts"])


_DIRECTIONS = ("image_to_text", "text_to_image")


@dataclass(frozen=True)
class EvaluationResult:
    """One model on one collection. What the collection does not offer is None or absent.

    Attributes:
        name: the model's.
        collection: the data's, or the benchmark's.
        context_length: tokens the model reads; None where it has no known limit.
        images: that could be read, and `bad_images` those that could not.
        long, short: retrieval by long and by short texts.
        zero_shot: classification, by the name of the label set; `classes` has their names.
        protocol: of the benchmark, in words; empty for other data.
        partial: whether a benchmark's data were not all that is published.
        fingerprint: of the data that were read.
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
    protocol: str = ""
    partial: bool = False
    fingerprint: str = ""
    image_embeddings: torch.Tensor | None = field(default=None, repr=False, compare=False)
    image_indices: tuple[int, ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Everything but embeddings."""
        return {
            "name": self.name,
            "collection": self.collection,
            "protocol": self.protocol,
            "partial": self.partial,
            "fingerprint": self.fingerprint,
            "context_length": self.context_length,
            "images": self.images,
            "bad_images": [{"index": bad.index, "reason": bad.reason} for bad in self.bad_images],
            "long": self.long.to_json() if self.long else None,
            "short": self.short.to_json() if self.short else None,
            "zero_shot": {
                task: _zero_shot_json(result, self.classes.get(task, ()))
                for task, result in self.zero_shot.items()
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EvaluationResult":
        """What `to_json` wrote, without probes and embeddings.

        Raises:
            KeyError: if something is missing; TypeError or ValueError if it is something else.
        """
        long, short = (values[k] and TextRetrieval.from_json(values[k]) for k in ("long", "short"))
        zero_shot = values["zero_shot"].items()
        return cls(
            name=str(values["name"]),
            collection=str(values["collection"]),
            context_length=values["context_length"],
            images=int(values["images"]),
            bad_images=tuple(BadImage(b["index"], b["reason"]) for b in values["bad_images"]),
            long=long,
            short=short,
            zero_shot={task: _zero_shot_from_json(found) for task, found in zero_shot},
            classes={task: tuple(found["class_names"]) for task, found in zero_shot},
            protocol=str(values["protocol"]),
            partial=bool(values["partial"]),
            fingerprint=str(values["fingerprint"]),
        )


def _zero_shot_json(result: ZeroShotResult, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        **result.to_json(),
        "interval": bootstrap_top1(result).to_json(),
        "class_names": list(classes),
        "targets": result.targets.tolist(),
        "predictions": result.predictions.tolist(),
    }


def _zero_shot_from_json(values: Mapping[str, Any]) -> ZeroShotResult:
    targets, predictions = (torch.tensor(values[name]) for name in ("targets", "predictions"))
    return ZeroShotResult.of(targets, predictions, int(values["classes"]))


def as_json(results: Sequence[EvaluationResult]) -> str:
    """Everything about the results that is not an embedding; a line for each."""
    lines = ",\n".join(json.dumps(result.to_json(), ensure_ascii=False) for result in results)
    return f'{{"longclip": "{__version__}", "results": [\n{lines}\n]}}\n'


def write_results(path: Path, results: Sequence[EvaluationResult]) -> None:
    """Write them whole or not at all."""
    write_text(path, as_json(results))


def read_all_results(paths: Sequence[Path]) -> list[EvaluationResult]:
    """The results of several files; where a model comes twice on one collection, both are told
    apart by the names of their files.

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
    """The results in a file of `longclip eval --results`, without embeddings.

    Raises:
        ValueError: if there is no such file or it holds something else; it is named.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return [EvaluationResult.from_json(values) for values in content["results"]]
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}; make one: longclip eval --results") from None
    except KeyError as error:
        raise UsageError(f"{path} holds no results of longclip eval: no {error}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, ValueError) as error:
        raise UsageError(f"{path} holds no results of longclip eval: {error}") from None


TOKENS_KEPT = (5, 10, 15, 20, 30, 40, 50, 60, 75, 100, 125, 150, 200, 246)


def probe_texts(
    encoder: Encoder,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    image_embeddings: torch.Tensor,
    text_embeddings: torch.Tensor,
    *,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> TextProbes:
    """All probes; embeddings and `image_of_text` as in `retrieval_recall`."""
    return TextProbes(
        lengths=recall_by_length(
            encoder,
            image_embeddings,
            texts,
            image_of_text,
            tokens=TOKENS_KEPT,
            cache=cache,
            on_progress=on_progress,
        ),
        sentences=sentence_probes(
            encoder,
            image_embeddings,
            texts,
            image_of_text,
            text_embeddings=text_embeddings,
            cache=cache,
            on_progress=on_progress,
        ),
        details=detail_accuracy(
            encoder,
            image_embeddings,
            texts,
            image_of_text,
            text_embeddings=text_embeddings,
            cache=cache,
            on_progress=on_progress,
        ),
        separation=separation(image_embeddings, texts, text_embeddings, image_of_text),
    )
