"""A report of several models on several collections, out of their results."""

from collections.abc import Mapping, Sequence

import torch

from longclip import __version__
from longclip.evaluation.disagreements import Disagreements
from longclip.evaluation.probes.text_probes import TextProbes
from longclip.evaluation.report import ReportData
from longclip.evaluation.report_confusion import Confusions
from longclip.evaluation.results import EvaluationResult
from longclip.evaluation.side_by_side import results_tables


def model_report(
    results: Sequence[EvaluationResult], gallery: Disagreements | None, command: str
) -> ReportData:
    """What all results say, collection by collection, the models in the order of the results."""
    collections = list(dict.fromkeys(result.collection for result in results))
    of_collection = {
        name: {result.name: [result] for result in results if result.collection == name}
        for name in collections
    }
    models = list(dict.fromkeys(result.name for result in results))
    probed = max(collections, key=lambda name: _texts_probed(of_collection[name]))
    probes = _probes(of_collection[probed])
    return ReportData(
        title=" · ".join(models),
        summary=f"{_listed(models)} on {_listed(collections)}.",
        tables=tuple(table for runs in of_collection.values() for table in results_tables(runs)),
        curves={model: found.lengths for model, found in probes.items()},
        probes=probes,
        probed=probed,
        confusions=tuple(
            Confusions(f"{name}, {task}", result.classes[task], _confusions(runs, task))
            for name, runs in of_collection.items()
            for result in next(iter(runs.values()))
            for task in result.zero_shot
        ),
        queries=gallery.queries if gallery else (),
        queries_note=_gallery_note(gallery, models) if gallery else "",
        command=command,
        facts=_facts(results),
    )


def _probes(runs: Mapping[str, Sequence[EvaluationResult]]) -> dict[str, TextProbes]:
    found = {model: result.long and result.long.probes for model, [result] in runs.items()}
    return {model: probes for model, probes in found.items() if probes}


def _texts_probed(runs: Mapping[str, Sequence[EvaluationResult]]) -> int:
    """The largest pool says most."""
    return max((probes.lengths.texts for probes in _probes(runs).values()), default=0)


def _confusions(
    runs: Mapping[str, Sequence[EvaluationResult]], task: str
) -> dict[str, torch.Tensor]:
    return {model: result.zero_shot[task].confusion for model, [result] in runs.items()}


def _gallery_note(gallery: Disagreements, models: Sequence[str]) -> str:
    return (
        f"On {gallery.collection}, {models[-1]} returns the right image first and {models[0]} does "
        f"not for {gallery.gained:,} texts; the other way round it is {gallery.lost:,}. Shown are "
        "those decided by what a stock CLIP no longer reads, then those with the largest margin, "
        "and up to two losses at the end."
    )


def _facts(results: Sequence[EvaluationResult]) -> dict[str, str]:
    facts = {}
    for result in results:
        if result.protocol:
            facts[result.collection] = result.protocol
        if result.fingerprint:
            facts[f"Data read, {result.collection}"] = f"sha256 {result.fingerprint}"
        if result.bad_images:
            facts[f"Left out, {result.collection}"] = f"{len(result.bad_images)} images"
    lengths = {result.name: result.context_length for result in results}
    facts["Tokens read"] = ", ".join(f"{name} {n or 'any'}" for name, n in lengths.items())
    facts["Versions"] = f"longclip {__version__}, torch {torch.__version__}"
    return facts


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
