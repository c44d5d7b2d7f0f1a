"""The tables of a report on what recall hides."""

from collections.abc import Mapping

from longclip.evaluation.probes.details import PLACES, DetailAccuracy, PlaceAccuracy
from longclip.evaluation.probes.sentence_probes import SentenceProbes
from longclip.evaluation.probes.text_probes import TextProbes
from longclip.evaluation.tables import Cell, ResultsTable, Row

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
