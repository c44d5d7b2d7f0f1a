"""Several models on several collections, one after the other."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longclip._progress import SILENT, OnProgress
from longclip.errors import UsageError
from longclip.evaluation.benchmarks import fingerprint
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.disagreements import Disagreements
from longclip.evaluation.encoder import Encoder
from longclip.evaluation.measure import EvaluateConfig, evaluate
from longclip.evaluation.model_report import find_disagreements
from longclip.evaluation.requests import Request
from longclip.evaluation.results import EvaluationResult

# A name before the first "=", which is neither a path nor a prefix such as open_clip:.
_NAMED = re.compile(r"([^=/:\\]+)=(.+)")


@dataclass(frozen=True)
class Session:
    """All results, model by model, and where the models disagree.

    That is on the collection with most long texts, or on the first one where none has any.
    """

    results: tuple[EvaluationResult, ...]
    gallery: Disagreements | None


def named(model: str) -> tuple[str, str]:
    """Name and source of `NAME=SOURCE`, or of a source that is its own name."""
    found = _NAMED.fullmatch(model)
    return (found[1], found[2]) if found else (model, model)


def run_session(
    models: Sequence[str],
    requests: Sequence[Request],
    open_model: Callable[[str], Encoder],
    config: EvaluateConfig,
    *,
    gallery: bool = False,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> Session:
    """Measure every model on every collection.

    Args:
        models: each a source for `open_model`, or NAME=SOURCE.
        requests: what to measure on.
        open_model: gives the encoder of a source.
        config: what to measure; each request has tasks of its own.
        gallery: also look where the models disagree, for which all are held in memory.
        cache: where embeddings are looked for and kept.
        on_progress: told how far each stage is, with the model's name.

    Raises:
        ValueError: if two models have the same name, and whatever `open_model` and `evaluate` do.
    """
    sources = dict(map(named, models))
    if len(sources) < len(models):
        raise UsageError(
            f"two of the models {', '.join(models)} have the same name; tell them apart: NAME=MODEL"
        )
    prints = [fingerprint(request.collection) for request in requests]
    encoders: dict[str, Encoder] = {}
    results: list[EvaluationResult] = []
    for name, source in sources.items():
        encoder = open_model(source)
        for request, digest in zip(requests, prints, strict=True):
            result = evaluate(
                encoder,
                request.collection,
                name=name,
                config=dataclasses.replace(config, tasks=request.tasks),
                cache=cache,
                on_progress=_prefixed(on_progress, name) if len(sources) > 1 else on_progress,
            )
            results.append(_described(result, request, digest))
        if gallery and len(sources) > 1:
            encoders[name] = encoder
    found = None
    if gallery and len(sources) > 1:
        chosen = max(results, key=_long_texts).collection
        request = next(request for request in requests if request.name == chosen)
        own = {result.name: result for result in results if result.collection == chosen}
        found = find_disagreements(encoders, request, own)
    return Session(tuple(results), found)


def _long_texts(result: EvaluationResult) -> int:
    return result.long.recall.texts if result.long else 0


def _described(result: EvaluationResult, request: Request, digest: str) -> EvaluationResult:
    opened = request.opened
    return dataclasses.replace(
        result,
        collection=request.name,
        protocol=opened.benchmark.protocol if opened else "",
        partial=opened is not None and opened.partial,
        fingerprint=digest,
    )


def _prefixed(on_progress: OnProgress, name: str) -> OnProgress:
    def report(stage: str, done: int, total: int, note: str = "") -> None:
        on_progress(f"{name}, {stage}", done, total, note)

    return report
