"""The section of a report on what recall hides."""

from collections.abc import Mapping
from html import escape

from longclip.evaluation.chart import swatch
from longclip.evaluation.probes.details import PLACES, DetailAccuracy, PlaceAccuracy
from longclip.evaluation.probes.sentence_probes import SentenceProbes
from longclip.evaluation.probes.separation import Cosines, Separation
from longclip.evaluation.probes.text_probes import TextProbes
from longclip.evaluation.report_tables import Cell, ResultsTable, Row, table_html

_PLACES = {
    "early": "among the first 20 tokens",
    "middle": "tokens 21 to 75",
    "late": "behind token 75",
}


def probes_html(collection: str, probes: Mapping[str, TextProbes]) -> str:
    """Which sentences count, whether details are read, how far embeddings lie apart; by model."""
    sentences = table_html(_sentences_table({m: p.sentences for m, p in probes.items()}))
    removed = table_html(_removed_table({m: p.sentences for m, p in probes.items()}))
    details = table_html(_details_table({m: p.details for m, p in probes.items()}))
    separation = _separation_html({m: p.separation for m, p in probes.items()})
    return f"""<section>
<h2>What recall hides</h2>
<p class="note">On {escape(collection)}. A model that reads the first sentence alone can have a fine
recall. Sentences: the same pool with some taken out or in another order. Details: each image is
shown its text and the text with one attribute changed (colour, number, size, material, pattern,
side); a model that does not read the word cannot tell them apart and scores nothing.</p>
<div class="tables">
{sentences}
{details}
{removed}
{separation}
</div>
</section>"""


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


def _separation_html(separation: Mapping[str, Separation]) -> str:
    heads = (
        "text – text",
        "texts with the same first sentence",
        "image – image",
        "text – its image",
        "text – nearest other image",
        "modality gap",
    )
    rows = "\n".join(
        f'<tr><th scope="row">{swatch(index)}{escape(model)}</th>'
        + "".join(
            f"<td>{_number(value)}</td>"
            for value in (
                found.text_text,
                found.same_first_sentence,
                found.image_image,
                found.true_pairs,
                found.hardest_rivals,
                found.modality_gap,
            )
        )
        + "</tr>"
        for index, (model, found) in enumerate(separation.items())
    )
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f"""<div class="card scroll" style="--columns:{len(heads)}" role="region" tabindex="0"
aria-label="Separation">
<table>
<caption>Separation <small>mean cosine, and the distance of the centroids of images and
texts</small></caption>
<thead><tr><th scope="col">model</th>{columns}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>"""


def _number(value: Cosines | float | None) -> str:
    if value is None:
        return "–"
    return f"{value.mean if isinstance(value, Cosines) else value:.3f}"
