"""Curves of runs on a page and in a picture."""

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.report.chart import Curve, line_chart, smoothed, value_range
from longclip.report.run_curves import curves_page, curves_svg, write_curves
from longclip.runs.run import Run, find_runs
from tests.helpers.html_page import Page
from tests.helpers.runs import line, lines_to, make_run, measured

SVG = "{http://www.w3.org/2000/svg}"


def runs(folder: Path) -> list[Run]:
    """Two that differ in their seed, one that differs in more."""
    for seed in (0, 1):
        lines = [*lines_to(100), measured(50, 0.5), measured(100, 0.6 + seed / 10)]
        make_run(folder / f"paper-{seed}", lines, model=True, seed=seed)
    two = [line(s, loss_long=1.0, loss_short=2.0) for s in range(10, 61, 10)]
    make_run(folder / "<best>", two, recipe="best", pcm=False, state="running")
    return find_runs([folder])


def slow_smoothed(values: list[float]) -> list[float]:
    half = len(values) // 50
    means = []
    for i in range(len(values)):
        back = min(half, i)
        window = values[i - back : i + back + 1]
        means.append(math.fsum(window) / len(window))
    return means


@given(st.lists(st.floats(-100, 100), max_size=220))
def test_smoothing(values: list[float]) -> None:
    found = smoothed([(float(i), value) for i, value in enumerate(values)])
    assert [x for x, _ in found] == list(range(len(values)))
    assert [y for _, y in found] == pytest.approx(slow_smoothed(values), abs=1e-9)


def test_a_short_run_is_not_smoothed_at_all() -> None:
    points = [(float(i), 0.1 * i) for i in range(49)]
    assert smoothed(points) == points


def test_a_straight_line_stays_where_it_is() -> None:
    points = [(float(i), 3.0 * i) for i in range(200)]
    found = smoothed(points)
    assert [y for _, y in found[:196]] == pytest.approx([3.0 * i for i in range(196)])


def coordinates(chart: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'<polyline points="(.*?)"', chart)
    return [[tuple(map(float, pair.split(","))) for pair in points.split()] for points in lines]  # type: ignore[misc]


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=30), st.floats(1e-9, 1e3))
def test_whatever_is_drawn_is_in_the_picture(values: list[float], size: float) -> None:
    points = [(float(i), size * value) for i, value in enumerate(values)]
    chart = line_chart("loss", "step", [Curve("a", points, 0)], width=440, height=280)
    [drawn] = coordinates(chart)
    assert len(drawn) == len(points)
    assert all(53 <= x <= 427 and 29 <= y <= 241 for x, y in drawn)
    higher = [points[i][1] - points[0][1] for i in range(len(points))]
    for (_, y), rise in zip(drawn, higher, strict=True):
        assert (drawn[0][1] - y) * rise >= -1e-6 * abs(rise), "up is up"


def test_ticks_are_round_numbers_around_the_values() -> None:
    chart = line_chart(
        "loss", "step", [Curve("a", [(0, 2.13), (50_000, 4.4)], 0)], width=440, height=280
    )
    texts = re.findall(r'text-anchor="(\w+)">(.*?)</text>', chart)
    assert [text for side, text in texts if side == "end"] == ["2", "2.5", "3", "3.5", "4", "4.5"]
    middle = [text for side, text in texts if side == "middle"]
    assert middle == ["0", "10k", "20k", "30k", "40k", "50k", "step"]


def test_choices_stand_equally_far_apart() -> None:
    curve = Curve("a", [(8, 1.0), (32, 2.0), (1024, 3.0)], 0)
    chart = line_chart(
        "recall",
        "batch",
        [curve],
        width=440,
        height=280,
        choices=(8, 32, 64, 1024),
        mark=(32, "us"),
    )
    [[(first, _), (second, _), (last, _)]] = coordinates(chart)
    assert last - second == pytest.approx(2 * (second - first), abs=0.2)
    assert re.findall(r'text-anchor="middle">(\d+)</text>', chart) == ["8", "32", "64", "1024"]
    assert f'class="mark" x1="{second:.1f}"' in chart


def test_charts_can_have_the_same_vertical_axis() -> None:
    curves = [Curve("a", [(0, 10.0), (1, 12.0)], 0), Curve("b", [(0, 60.0), (1, 69.0)], 1)]
    within = value_range(curves)
    assert within == (10, 69)
    charts = [
        line_chart("recall", "x", [one], width=440, height=280, within=within) for one in curves
    ]
    labels = [re.findall(r'text-anchor="end">([\d.]+)</text>', chart) for chart in charts]
    assert labels[0] == labels[1]
    assert float(labels[0][0]) <= 10
    assert float(labels[0][-1]) >= 69
    [[(_, twelve), (_, sixty)]] = [[coordinates(charts[0])[0][1], coordinates(charts[1])[0][0]]]
    assert twelve > sixty, "12 is far below 60"
    assert "up to" not in charts[0] + charts[1]


def test_spreads_are_upright_lines_and_have_room() -> None:
    curve = Curve("a", [(0, 50.0), (10, 52.0)], 0, spreads=(10.0, 0.0))
    assert value_range([curve]) == (40, 60)
    chart = line_chart("recall", "x", [curve], width=440, height=280)
    [(low, high)] = re.findall(r'y1="([\d.]+)" y2="([\d.]+)" style="stroke:var', chart)
    [[(_, middle), _]] = coordinates(chart)
    assert float(low) - middle == pytest.approx(middle - float(high), abs=0.2)
    assert float(low) <= 241
    assert float(high) >= 29


def test_long_runs_make_no_large_file_and_keep_their_spikes() -> None:
    raw = [(float(i), 9.0 if i == 77_777 else 1.0) for i in range(100_000)]
    chart = line_chart(
        "loss", "step", [Curve("a", smoothed(raw), 0, raw=raw)], width=440, height=280
    )
    assert len(chart) < 60_000
    faint, strong = coordinates(chart)
    assert min(y for _, y in faint) < min(y for _, y in strong) - 100


def test_the_page_is_one_well_formed_file(tmp_path: Path) -> None:
    html = curves_page(runs(tmp_path))
    page = Page(html)
    assert not {"script", "link", "img"} & {tag for tag, _ in page.tags}
    assert "url(" not in html
    assert html.count("<best>") == 0
    assert "&lt;best&gt;" in html
    assert "$" not in re.sub("(?s)<style>.*?</style>", "", html)
    headings = ["loss", "loss, long part", "loss, short part", "learning rate"]
    charts = [*headings, "val long T2I R@1"]
    labels = [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg]
    assert [label.partition(" against ")[0] for label in labels] == charts
    assert "3 runs: 1 running, 2 finished." in page.text
    assert "Runs that differ in their seed alone share a colour" in page.text
    assert "paper (2 runs)" in page.text


def test_the_tables_say_what_differs_and_where_runs_stand(tmp_path: Path) -> None:
    page = re.sub(r"\s+", " ", Page(curves_page(runs(tmp_path))).text)
    differ, stand = page.index("Settings that differ"), page.index("Where they stand")
    assert "recipebestpaperpaper" in page[differ:stand]
    assert "seed001" in page[differ:stand].replace(" ", "")
    assert "val long T2I R@1, %–6070" in page[stand:]


def test_seeds_share_a_colour(tmp_path: Path) -> None:
    svg = curves_svg(runs(tmp_path))
    chart = svg[svg.index('aria-label="learning rate') :]
    chart = chart[: chart.index("</svg>")]
    assert re.findall(r'/*style="stroke:var\(--series-(\d)\)"', chart) == ["0", "1", "1"]


def test_the_picture_is_well_formed_and_brings_its_colours(tmp_path: Path) -> None:
    svg = curves_svg(runs(tmp_path))
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    charts = [child for child in root if child.tag == f"{SVG}svg"]
    assert len(charts) == 5
    for chart in charts:
        assert float(chart.attrib["x"]) + float(chart.attrib["width"]) <= width
        assert float(chart.attrib["y"]) + float(chart.attrib["height"]) <= height
    used = set(re.findall(r"var\((--[\w-]+)\)", svg))
    defined = set(re.findall(r"(--[\w-]+):", svg))
    assert used <= defined


def test_runs_with_other_batches_are_compared_by_pairs(tmp_path: Path) -> None:
    make_run(tmp_path / "a", lines_to(100))
    make_run(tmp_path / "b", lines_to(100), batch_size=800)
    svg = curves_svg(find_runs([tmp_path]))
    assert "pairs seen</text>" in svg
    assert "80k" in svg
    assert "step</text>" not in svg


def test_ten_runs_are_told_apart(tmp_path: Path) -> None:
    for i in range(10):
        make_run(tmp_path / f"run-{i}", lines_to(100), lr=i)
    svg = curves_svg(find_runs([tmp_path]))
    legend = svg.partition("<svg x=")[0]
    colours = re.findall(r"fill:(var\(--series-\d\))", legend)
    dashes = legend.count("stroke-dasharray:7 4")
    assert (len(colours), len(set(colours)), dashes) == (10, 6, 4)
    assert svg.count("stroke-dasharray:7 4") > dashes, "the curves have them as well"


def test_one_run_alone_sets_no_axis(tmp_path: Path) -> None:
    for i in range(3):
        make_run(tmp_path / f"short-{i}", lines_to(100), lr=i)
    diverged = [line(s, loss=500.0) for s in range(100, 2001, 100)]
    make_run(tmp_path / "long", diverged, steps=2000)
    loss = curves_svg(find_runs([tmp_path])).partition("learning rate")[0]
    assert "up to 500" in loss
    ticks = re.findall(r'text-anchor="end">([\d.]+)</text>', loss)
    assert max(map(float, ticks)) < 3
    assert "% of the run" in loss


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    lines = [*lines_to(30), line(40, loss=math.nan), line(50, loss=math.inf)]
    make_run(tmp_path / "a", lines)
    svg = curves_svg(find_runs([tmp_path]))
    assert [len(points) for points in coordinates(svg)] == [3, 5]


@pytest.mark.parametrize("step", [0, 1])
def test_a_single_point_can_be_drawn(step: int, tmp_path: Path) -> None:
    make_run(tmp_path / "a", [line(1), measured(step, 0.0)])
    page = curves_page(find_runs([tmp_path]))
    assert "nan" not in page.lower().replace("finance", "")


def test_nothing_to_draw(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    with pytest.raises(ValueError, match="none of the runs has written metrics yet"):
        write_curves(tmp_path / "x.svg", find_runs([tmp_path]))
    assert not (tmp_path / "x.svg").exists()


def test_the_ending_decides(tmp_path: Path) -> None:
    found = runs(tmp_path / "runs")
    for name, start in (("c.svg", "<svg"), ("c.html", "<!DOCTYPE html>")):
        write_curves(tmp_path / name, found)
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
