"""Report of several models on several collections, out of their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from markupsafe import Markup

from longclip import __version__
from longclip.evaluation.disagreements import Disagreements, GalleryQuery
from longclip.evaluation.probes.details import PLACES
from longclip.evaluation.probes.lengths import LengthCurve
from longclip.evaluation.results import EvaluationResult, TextProbes
from longclip.evaluation.tables import CHANCE, Cell, ResultsTable, Row, results_tables
from longclip.report.chart import Curve, line_chart
from longclip.report.interval_chart import interval_chart
from longclip.report.render import paragraphs, picture, render
from longclip.spec import SPECIAL_TOKENS, STOCK_CONTEXT
from longclip.util.files import write_text

# A larger matrix is not drawn; its commonest mistakes are listed.
_MAX_MATRIX_CLASSES = 24
_MAX_MISTAKES = 12


@dataclass(frozen=True, eq=False)
class Confusions:
    """One task of classification: `matrices` holds int64 [C, C] by model, target by prediction."""

    title: str
    classes: tuple[str, ...]
    matrices: Mapping[str, torch.Tensor]

    @property
    def are_drawn(self) -> bool:
        """Return whether there are few enough classes for a matrix."""
        return len(self.classes) <= _MAX_MATRIX_CLASSES

    def shares(self, model: str) -> list[list[float]]:
        """Return by target the share of its images that each class was predicted for."""
        matrix = self.matrices[model]
        shares: list[list[float]] = (
            matrix.double() / matrix.sum(1, keepdim=True).clamp(min=1)
        ).tolist()
        return shares

    def mistakes(self, model: str) -> list[tuple[str, str, int]]:
        """Return the commonest mistakes: target, prediction, and how many images."""
        wrong = self.matrices[model].clone().fill_diagonal_(0).flatten()
        counts, places = wrong.topk(min(_MAX_MISTAKES, len(wrong)))
        return [
            (self.classes[place // len(self.classes)], self.classes[place % len(self.classes)], n)
            for n, place in zip(counts.tolist(), places.tolist(), strict=True)
            if n
        ]


@dataclass(frozen=True)
class ReportData:
    """Content of a report, in plain text; a field that is left empty has no section.

    `comparison` is the table that matters most, drawn first, and `comparison_note` what to see in
    it. `tables` come from `results_tables`. `curves` maps the name of a model, in the order of the
    tables' rows, to its recall by length, `probes` to what recall hides on the collection
    `probed`. `confusions` are those of classification tasks. `facts` are settings and provenance
    by name: seeds, pool sizes, times, versions. `queries_note` tells how queries were chosen.
    """

    title: str
    summary: str
    comparison: ResultsTable | None = None
    comparison_note: str = ""
    tables: tuple[ResultsTable, ...] = ()
    curves: Mapping[str, LengthCurve] = field(default_factory=dict)
    probes: Mapping[str, TextProbes] = field(default_factory=dict)
    probed: str = ""
    confusions: tuple[Confusions, ...] = ()
    queries: tuple[GalleryQuery, ...] = ()
    queries_note: str = ""
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page; where there is an older one it stays until the new one is complete."""
    write_text(path, render_report(data))


def render_report(data: ReportData) -> str:
    """Return the page as HTML."""
    return render(
        "models.html.j2",
        data=data,
        cells=[cell for table in data.tables for row in table.rows for cell in row.cells if cell],
        chance=CHANCE,
        comparison_charts={
            "wide": interval_chart(data.comparison, width=1000, names=170, across=5),
            "narrow": interval_chart(data.comparison, width=360, names=150, across=1),
        }
        if data.comparison
        else {},
        length_charts=_length_charts(data.curves) if data.curves else {},
        lengths=sorted({n for curve in data.curves.values() for n in curve.tokens}),
        recall_at={
            model: dict(zip(curve.tokens, curve.text_to_image, strict=True))
            for model, curve in data.curves.items()
        },
        probe_tables=_probe_tables(data.probes) if data.probes else [],
        separations={
            model: [
                *(
                    cosines.mean if cosines else None
                    for cosines in (
                        found.separation.text_text,
                        found.separation.same_first_sentence,
                        found.separation.image_image,
                        found.separation.true_pairs,
                        found.separation.hardest_rivals,
                    )
                ),
                found.separation.modality_gap,
            ]
            for model, found in data.probes.items()
        },
        paragraphs=paragraphs,
        picture=picture,
    )


def _length_charts(curves: Mapping[str, LengthCurve]) -> dict[str, Markup]:
    """Return the chart for wide and for narrow windows, by the class of each."""
    lines = []
    for index, (model, curve) in enumerate(curves.items()):
        values = [100 * value for value in curve.text_to_image]
        points = list(zip(curve.tokens, values, strict=True))
        ring = None
        if length := curve.effective_length:
            reached = 100 * curve.text_to_image_at(length)
            ring = (length, reached, f"effective length {length}")
        lines.append(Curve(model, points, index, dots=True, ring=ring))
    first = next(iter(curves.values()))
    return {
        name: line_chart(
            f"text → image R@{first.k}",
            "tokens kept of each description",
            lines,
            width=width,
            height=height,
            percent=True,
            from_zero=True,
            mark=(STOCK_CONTEXT - SPECIAL_TOKENS, f"end of a {STOCK_CONTEXT}-token context"),
        )
        for name, width, height in (("wide", 920, 400), ("narrow", 360, 300))
    }


def model_report(
    results: Sequence[EvaluationResult], gallery: Disagreements | None, command: str
) -> ReportData:
    """Gather all results, collection by collection, the models in the order of the results."""
    collections = list(dict.fromkeys(result.collection for result in results))
    of_collection = {
        name: {result.name: [result] for result in results if result.collection == name}
        for name in collections
    }
    models = list(dict.fromkeys(result.name for result in results))
    probes_on: dict[str, dict[str, TextProbes]] = {name: {} for name in collections}
    for result in results:
        if result.long and result.long.probes:
            probes_on[result.collection][result.name] = result.long.probes
    # The largest pool says most.
    probed = max(
        collections,
        key=lambda name: max((p.lengths.texts for p in probes_on[name].values()), default=0),
    )
    probes = probes_on[probed]
    return ReportData(
        title=" · ".join(models),
        summary=f"{_listed(models)} on {_listed(collections)}.",
        tables=tuple(table for runs in of_collection.values() for table in results_tables(runs)),
        curves={model: found.lengths for model, found in probes.items()},
        probes=probes,
        probed=probed,
        confusions=tuple(
            Confusions(
                f"{name}, {task}",
                result.classes[task],
                {model: own.zero_shot[task].confusion for model, [own] in runs.items()},
            )
            for name, runs in of_collection.items()
            for result in next(iter(runs.values()))
            for task in result.zero_shot
        ),
        queries=gallery.queries if gallery else (),
        queries_note=_gallery_note(gallery, models) if gallery else "",
        command=command,
        facts=_facts(results),
    )


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


_PLACES = {
    "early": "among the first 20 tokens",
    "middle": "tokens 21 to 75",
    "late": "behind token 75",
}
_PERTURBATIONS = {
    "contradicted": "a late detail false",
    "negated": "a sentence negated",
    "shuffled_words": "words shuffled",
}
_POSITIONS = {0.0: "first", 0.5: "middle", 1.0: "last"}


def _probe_tables(probes: Mapping[str, TextProbes]) -> list[ResultsTable]:
    """Return tables of the sentences that count, the details that are read and what is missed."""
    first = next(iter(probes.values()))
    recall, sentences, details, removed = f"text → image R@{first.sentences.k}", [], [], []
    rising, perturbed = [], []
    for model, found in probes.items():
        own = found.sentences
        variants = (own.whole, own.without_first, own.without_last, own.only_first)
        cells = [Cell(probe.text_to_image) for probe in variants]
        shuffled = Cell.of([probe.text_to_image for probe in own.shuffled])
        sentences.append(Row(model, (*cells, shuffled)))
        accuracies = [getattr(found.details, place).accuracy for place in PLACES]
        details.append(Row(model, tuple(map(_cell, accuracies))))
        removed.append(Row(model, tuple(Cell(probe.text_to_image) for probe in own.without_at)))
        rises = found.monotonicity
        shares = (rises.not_falling, rises.never_falling, rises.rank_correlation)
        rising.append(Row(model, tuple(map(_cell, (*shares, *rises.himo.values())))))
        comparisons = [getattr(found.perturbations, kind) for kind in _PERTURBATIONS]
        perturbed.append(Row(model, tuple(_cell(one.accuracy) for one in comparisons)))
    return [
        ResultsTable(
            "Sentences",
            f"{recall}; {first.sentences.texts:,} texts, "
            f"{first.sentences.texts_of_one_sentence:,} of them of one sentence, which stay; "
            f"shuffled {len(first.sentences.seeds)} times",
            ("whole", "without the first", "without the last", "first alone", "shuffled"),
            tuple(sentences),
            ranked=False,
        ),
        ResultsTable(
            "Details",
            "the true text nearer than the altered one; (n) texts; guessing gives 50",
            tuple(f"{_PLACES[p]} ({getattr(first.details, p).texts:,})" for p in PLACES),
            tuple(details),
        ),
        ResultsTable(
            "Which sentence is missed",
            f"{recall} without the sentence at that place of each text",
            tuple(_POSITIONS.get(p, f"{100 * p:.0f} % in") for p in first.sentences.positions),
            tuple(removed),
            ranked=False,
        ),
        ResultsTable(
            "Monotonicity",
            f"{first.monotonicity.texts:,} texts, read sentence by sentence: steps and texts at "
            "which the score does not fall, rank correlation of sentences and score (times 100), "
            "and texts whose score rises over two and three parts",
            (
                f"steps ({first.monotonicity.steps:,})",
                "whole texts",
                "correlation",
                *(f"HiMo@{k}" for k in first.monotonicity.himo),
            ),
            tuple(rising),
        ),
        ResultsTable(
            "Truth and order",
            "the true text scores above the changed one; (n) texts; guessing gives 50",
            tuple(
                f"{words} ({getattr(first.perturbations, kind).texts:,})"
                for kind, words in _PERTURBATIONS.items()
            ),
            tuple(perturbed),
        ),
    ]


def _cell(value: float | None) -> Cell | None:
    return None if value is None else Cell(value)
