import base64
import io
import os
import re

import pytest
import torch
from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import LabelSet
from longclip.evaluation import (
    Cell,
    Evidence,
    GalleryAnswer,
    GalleryQuery,
    LengthCurve,
    Mark,
    ResultsTable,
    Row,
    evaluate,
    results_tables,
)
from longclip.report import ReportData, render_report, write_report
from longclip.report.interval_chart import interval_chart
from tests.helpers.encoders import BagOfTokens, PaintedTexts
from tests.helpers.html_page import Page

NASTY = "<script>alert('$title & \"co\"')</script>"


def curve(tokens):
    values = tuple(n / 300 for n in tokens)
    return LengthCurve(1, 10, 10, tokens, (0,) * len(tokens), values, values)


def query(text="Red car. Blue <b> lamp & tree.", cut=15, size=(8, 6)):
    evidence = Evidence(text, 0.1, (Mark(0, 8, -0.1), Mark(9, 30, 0.2)), (Mark(9, 13, 0.1),))
    image = Image.new("RGB", size, "red")
    answers = (GalleryAnswer(NASTY, image, False, NASTY), GalleryAnswer("B", image, True, "a lamp"))
    return GalleryQuery(evidence, answers, cut)


def full(text=NASTY):
    rows = (Row(text, (Cell(0.5), Cell(0.9))), Row("B", (Cell(0.75, 3, 0.01), Cell(0.85))))
    return ReportData(
        title=text,
        summary=text,
        tables=(ResultsTable(text, text, (text, "R@5"), rows),),
        curves={text: curve((5, 20, 75)), "B": curve((5, 20, 75, 246))},
        queries=(query(),),
        queries_note=text,
        command=text,
        facts={text: text},
    )


def test_the_page_is_one_well_formed_file_with_nothing_from_outside():
    page = Page(render_report(full()))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attrs in page.tags:
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:")
    assert "url(" not in render_report(full())
    assert all(img["alt"] for img in page.all("img"))
    assert all("scope" in th for th in page.all("th"))
    assert page.text.count(NASTY) > 8


def test_what_is_empty_has_no_section():
    page = Page(render_report(ReportData("title", "summary")))
    assert page.all("h2") == []
    assert [tag for tag, _ in page.tags if tag in ("table", "img", "svg", "dl")] == []


def test_tables_show_percent_best_and_distance_from_the_first_row():
    html = render_report(full("A"))
    cells = re.findall(r"<td>(.*?)</td>", html)[:4]
    plain = [re.sub(r"<(?!/?b>).*?>", "|", cell) for cell in cells]
    assert [re.sub(r"\|+", "|", cell).strip("|") for cell in plain] == [
        "50.0",
        "<b>90.0</b>",
        "<b>75.0</b> |± 1.0|+25.0",
        "85.0|−5.0",
    ]


def test_descriptions_are_marked_and_cut_without_losing_a_letter():
    html = render_report(ReportData("t", "s", queries=(query(),)))
    [marked] = re.findall(r"<mark.*?>(.*?)</mark>", html)
    assert marked == "Blue"
    underlined = re.findall(r'<span class="deciding">(.*?)</span>', html)
    assert re.sub("<.*?>", "", "".join(underlined)) == "Blue &lt;b&gt; lamp &amp; tree."
    before, after = html.split('<div class="cut">')
    text = re.search(r"<p>(.*?)</p>\s*$", before, re.S), re.search(r"<p>(.*?)</p>", after, re.S)
    parts = [Page(found.group(1)).text for found in text if found]
    assert parts == ["Red car. Blue <", "b> lamp & tree."]


@pytest.mark.parametrize("cut", [None, 0, 30])
def test_a_text_that_fits_has_no_line(cut):
    html = render_report(ReportData("t", "s", queries=(query(cut=cut),)))
    assert '<div class="cut">' not in html


@pytest.mark.parametrize(
    ("size", "shown"), [((8, 6), (16, 12)), ((300, 200), (300, 200)), ((768, 384), (384, 192))]
)
def test_small_pictures_are_shown_larger_and_large_ones_smaller(size, shown):
    page = Page(render_report(ReportData("t", "s", queries=(query(size=size),))))
    image = page.all("img")[0]
    assert (int(image["width"]), int(image["height"])) == shown
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (255, 0, 0)


def test_the_chart_has_every_point_and_the_numbers_beside_it():
    page = Page(render_report(ReportData("t", "s", curves={"A": curve((5, 75)), "B": curve((5,))})))
    assert page.text.count("A: 25.0% at 75") == 2
    assert [len(line["points"].split()) for line in page.all("polyline")] == [2, 1, 2, 1]
    numbers = page.text[page.text.index("tokens kept", page.text.index("The numbers")) :].split()
    assert numbers == ["tokens", "keptAB", "51.71.7", "7525.0–"]


def test_a_comparison_has_a_dot_and_a_line_for_every_cell():
    rows = (
        Row("A", (Cell(0.5, interval=(0.4, 0.6)), None)),
        Row(NASTY, (Cell(0.75, runs=3, spread=0.01), Cell(0.2, interval=(0.1, 0.3)))),
        Row("published", (Cell(0.9), Cell(0.9)), quoted=True),
    )
    table = ResultsTable(NASTY, "", ("one", "other"), rows)
    page = Page(render_report(ReportData("t", "s", comparison=table, comparison_note=NASTY)))
    for says in ("50.0 % (40.0 to 60.0)", "75.0 % (74.0 to 76.0)", "20.0 % (10.0 to 30.0)"):
        assert page.text.count(says) == 2, "in the wide chart and in the narrow one"
    assert "90.0 %" not in page.text
    svg = str(interval_chart(table, width=600, names=100, across=2))
    first = {i: float(x) for i, x in enumerate(re.findall(r'<circle cx="([\d.]+)"', svg))}
    lines = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1', svg)
    low, high = map(float, lines[0])
    # The second sign of the first row is the dot; the first stands beside its name.
    assert first[1] == pytest.approx((low + high) / 2, abs=0.11)
    assert len(lines) == 3
    assert "NaN" not in svg
    assert "<script" not in svg


def test_a_ring_marks_the_effective_length():
    full, none = curve((0, 100)), LengthCurve(1, 9, 9, (5, 50), (0, 0), (0.0, 0.0), (0.0, 0.0))
    html = render_report(ReportData("t", "s", curves={"A": full, NASTY: none}))
    page = Page(html)
    rings = [one for one in page.all("circle") if one.get("class") == "ring"]
    # In the wide chart and the narrow one; 95 of 100 tokens on a straight line.
    assert len(rings) == page.text.count("A: effective length 95") == 2
    points = [list(map(float, xy.split(","))) for xy in page.all("polyline")[0]["points"].split()]
    (x0, y0), (x1, y1) = points
    assert float(rings[0]["cx"]) == pytest.approx(x0 + 0.95 * (x1 - x0), abs=0.2)
    assert float(rings[0]["cy"]) == pytest.approx(y0 + 0.95 * (y1 - y0), abs=0.2)
    assert f"A 95; {NASTY} none." in " ".join(page.text.split())


@pytest.mark.parametrize("value", [0.0, 1e-4, 1.0])
def test_flat_and_full_curves_can_be_drawn(value):
    flat = LengthCurve(1, 10, 10, (1,), (0,), (value,), (value,))
    assert "NaN" not in render_report(ReportData("t", "s", curves={"A": flat}))


def test_an_interrupted_write_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    write_report(path, ReportData("first", "s"))
    assert "first" in path.read_text(encoding="utf-8")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, ReportData("second", "s"))
    assert "first" in path.read_text(encoding="utf-8")
    assert os.listdir(path.parent) == ["report.html"]


PICTURES = ("a red car", "a green tree", "two blue boats")


def results(pictures=PICTURES, context_length=77):
    texts = tuple(Captions(short=(p, f"{p} again")) for p in pictures)
    labels = LabelSet("things", ("car", "tree", "boats"), tuple(range(len(pictures))))
    collection = PaintedTexts(pictures, texts, (labels,))
    encoder = BagOfTokens(context_length)
    return evaluate(encoder, collection, name="m", templates={"things": ["{}"]})


def test_tables_of_evaluation_results():
    good, bad = results(), results(context_length=3)
    tables = results_tables({"A": [bad], "B": [good, bad]})
    assert [(t.title, t.note) for t in tables] == [
        ("painted/test: long descriptions", "3 images, 3 texts"),
        ("painted/test: short captions", "3 images, 6 texts"),
        ("painted/test: zero-shot", "3 images; top-1 accuracy among (n) classes"),
    ]
    assert [t.columns for t in tables][1:] == [
        tuple(f"{way} R@{k}" for way in ("text → image", "image → text") for k in (1, 5, 10)),
        ("things (3)",),
    ]
    cell = tables[1].rows[1].cells[0]
    values = [run.short.recall.text_to_image[1] for run in (good, bad)]
    assert cell.runs == 2
    assert cell.value == pytest.approx(sum(values) / 2)
    assert cell.spread == pytest.approx(torch.tensor(values).std().item())
    assert tables[0].rows[0].cells[3].value == bad.long.recall.image_to_text[1]


def test_models_are_compared_on_one_pool_only():
    with pytest.raises(ValueError, match="same images and texts"):
        results_tables({"A": [results()], "B": [results(PICTURES[:2])]})
    with pytest.raises(ValueError, match="one result or more"):
        results_tables({"A": [results()], "B": []})
