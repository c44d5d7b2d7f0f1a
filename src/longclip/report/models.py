"""A report of several models on several collections, out of their results.

The tables of a report on what recall hides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from markupsafe import Markup

from longclip import __version__
from longclip.evaluation.disagreements import Disagreements, GalleryQuery
from longclip.evaluation.probes.details import PLACES, DetailAccuracy, PlaceAccuracy
from longclip.evaluation.probes.lengths import LengthCurve
from longclip.evaluation.probes.sentence_probes import SentenceProbes
from longclip.evaluation.probes.separation import Separation
from longclip.evaluation.results import EvaluationResult, TextProbes
from longclip.evaluation.tables import CHANCE, Cell, ResultsTable, Row, results_tables
from longclip.report.chart import Curve, line_chart
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
        """Whether there are few enough classes for a matrix."""
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
    """All that a report says, in plain text. What is left empty has no section.

    `tables` come from `results_tables`. `curves` maps the name of a model, in the order of the
    tables' rows, to its recall by length, `probes` to what recall hides on the
    collection `probed`. `confusions` are those of
    classification tasks. `facts` are settings and provenance by name: seeds, pool
    sizes, times, versions. `queries_note` says which queries were chosen, and how.
    """

    title: str
    summary: str
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
        length_charts=_length_charts(data.curves) if data.curves else {},
        lengths=sorted({n for curve in data.curves.values() for n in curve.tokens}),
        recall_at={
            model: dict(zip(curve.tokens, curve.text_to_image, strict=True))
            for model, curve in data.curves.items()
        },
        probe_tables=probe_tables(data.probes) if data.probes else [],
        separations={model: _separation(p.separation) for model, p in data.probes.items()},
        paragraphs=paragraphs,
        picture=picture,
    )


def _length_charts(curves: Mapping[str, LengthCurve]) -> dict[str, Markup]:
    """Return the chart for wide and for narrow windows, by the class of each."""
    lines = []
    for index, (model, curve) in enumerate(curves.items()):
        values = [100 * value for value in curve.text_to_image]
        points = list(zip(curve.tokens, values, strict=True))
        lines.append(Curve(model, points, index, dots=True))
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


def _separation(found: Separation) -> list[float | None]:
    cosines = (
        found.text_text,
        found.same_first_sentence,
        found.image_image,
        found.true_pairs,
        found.hardest_rivals,
    )
    return [*(cosine.mean if cosine else None for cosine in cosines), found.modality_gap]


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


_PLACES = {
    "early": "among the first 20 tokens",
    "middle": "tokens 21 to 75",
    "late": "behind token 75",
}


def probe_tables(probes: Mapping[str, TextProbes]) -> list[ResultsTable]:
    """Return which sentences count, whether details are read and what is missed, by model."""
    sentences = {model: found.sentences for model, found in probes.items()}
    return [
        _sentences_table(sentences),
        _details_table({model: found.details for model, found in probes.items()}),
        _removed_table(sentences),
    ]


def _sentences_table(probes: Mapping[str, SentenceProbes]) -> ResultsTable:
    first = next(iter(probes.values()))
    rows = [
        Row(
            model,
            (
                Cell(found.whole.text_to_image),
                Cell(found.without_first.text_to_image),
                Cell(found.without_last.text_to_image),
                Cell(found.only_first.text_to_image),
                Cell.of([probe.text_to_image for probe in found.shuffled]),
            ),
        )
        for model, found in probes.items()
    ]
    columns = ("whole", "without the first", "without the last", "first alone", "shuffled")
    note = (
        f"text → image R@{first.k}; {first.texts:,} texts, {first.texts_of_one_sentence:,} of "
        f"them of one sentence, which stay; shuffled {len(first.seeds)} times"
    )
    return ResultsTable("Sentences", note, columns, tuple(rows), ranked=False)


def _removed_table(probes: Mapping[str, SentenceProbes]) -> ResultsTable:
    first = next(iter(probes.values()))
    rows = [
        Row(model, tuple(Cell(probe.text_to_image) for probe in found.without_at))
        for model, found in probes.items()
    ]
    columns = tuple(_position(position) for position in first.positions)
    note = f"text → image R@{first.k} without the sentence at that place of each text"
    return ResultsTable("Which sentence is missed", note, columns, tuple(rows), ranked=False)


def _position(position: float) -> str:
    names = {0.0: "first", 0.5: "middle", 1.0: "last"}
    return names.get(position, f"{100 * position:.0f} % in")


def _details_table(details: Mapping[str, DetailAccuracy]) -> ResultsTable:
    first = next(iter(details.values()))
    places: Mapping[str, PlaceAccuracy] = {place: getattr(first, place) for place in PLACES}
    columns = tuple(f"{_PLACES[place]} ({found.texts:,})" for place, found in places.items())
    rows = [
        Row(model, tuple(_accuracy_cell(getattr(found, place)) for place in PLACES))
        for model, found in details.items()
    ]
    note = "the true text nearer than the altered one; (n) texts; guessing gives 50"
    return ResultsTable("Details", note, columns, tuple(rows))


def _accuracy_cell(found: PlaceAccuracy) -> Cell | None:
    return None if found.accuracy is None else Cell(found.accuracy)
