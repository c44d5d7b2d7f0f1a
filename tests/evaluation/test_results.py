"""Results as JSON, CSV and LaTeX, and read again."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longclip.data.captions import Captions
from longclip.data.collection import LabelSet
from longclip.evaluation import EvaluateConfig, EvaluationResult, evaluate, results_tables
from longclip.evaluation.results import (
    as_json,
    read_all_results,
    read_results,
    write_results,
)
from longclip.evaluation.tables import as_csv, as_latex, measurements
from tests.helpers.encoders import BagOfTokens, PaintedTexts

PICTURES = ("a red car", "a green tree", "two blue boats on a lake", "an old house", "a dog")


def measured(name: str = "m", context_length: int = 77, **changes: object) -> EvaluationResult:
    texts = tuple(Captions(short=(p, f"{p} again"), long=(f"{p}. It stands.",)) for p in PICTURES)
    labels = LabelSet("things", ("car", "tree", "boats", "house", "dog"), (0, 1, 2, 3, 4))
    collection = PaintedTexts(PICTURES, texts, (labels,))
    encoder = BagOfTokens(context_length)
    templates = {"things": ["a {}"]}
    config = EvaluateConfig(probes=context_length == 77)
    result = evaluate(encoder, collection, name=name, config=config, templates=templates)
    return replace(result, **changes)  # type: ignore[arg-type]


def test_results_come_back_from_json(tmp_path: Path) -> None:
    one = measured(fingerprint="f00d", protocol="all of it", partial=True)
    write_results(tmp_path / "r.json", [one])
    [again] = read_results(tmp_path / "r.json")
    assert (again.name, again.collection, again.fingerprint) == ("m", "painted/test", "f00d")
    assert (again.protocol, again.partial, again.context_length) == ("all of it", True, 77)
    for kind in ("long", "short"):
        mine, read = getattr(one, kind), getattr(again, kind)
        assert read.recall == mine.recall
        assert torch.equal(read.recall.ranks.text_to_image, mine.recall.ranks.text_to_image)
        assert read.intervals() == mine.intervals()
    assert again.zero_shot["things"] == one.zero_shot["things"]
    assert torch.equal(again.zero_shot["things"].confusion, one.zero_shot["things"].confusion)
    assert again.classes == one.classes
    assert results_tables({"m": [again]}) == results_tables({"m": [one]})
    # A result takes a line, so that such a file can be looked at.
    assert len(as_json([one, one]).splitlines()) == 4
    assert json.loads(as_json([one]))["results"][0]["long"]["probes"]["details"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no file .*r.json; make one"),
        (b"{", "r.json is no JSON .Expecting property name.*; name a file that `longclip"),
        (b'{"results": [{}]}', "r.json, result 1, has no 'long'; name a file"),
        (b'{"results": [1]}', "r.json, result 1, is no result .*it is no JSON object.*; name a"),
        (b'{"results": [{"long": 1, "short": 1}]}', "r.json, result 1, is no result .*; name a"),
        (b'{"results": {"long": 1}}', "r.json holds no results .* a list `results`; name a file"),
        (b'[{"image": "a.jpg"}]', "r.json holds no results .* a list `results`; name a file"),
        (b'"results"', "r.json holds no results .* a list `results`; name a file"),
        (b"\xff", "r.json is no JSON .*can't decode byte"),
        (b"[" * 100_000, "r.json is no JSON .*recursion"),
    ],
)
def test_files_that_hold_something_else(content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        read_results(tmp_path / "r.json")
    with pytest.raises(ValueError, match="is a directory, not a file of results; name a file"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("zero_shot", []),
        ("bad_images", [1]),
        ("images", "many"),
        ("long", {"images": 1, "texts": 1}),
        ("classes", None),
    ],
)
def test_a_result_that_was_changed_is_named(key: str, value: object, tmp_path: Path) -> None:
    content = json.loads(as_json([measured(), measured()]))
    if key == "classes":
        del content["results"][1]["zero_shot"]["things"]["classes"]
    content["results"][1] |= {key: value}
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"r\.json, result 2, .*; name a file"):
        read_results(tmp_path / "r.json")


def test_one_model_in_two_files_is_told_apart_by_them(tmp_path: Path) -> None:
    for name in ("before", "after"):
        write_results(tmp_path / f"{name}.json", [measured(), measured("other" + name)])
    files = [tmp_path / "before.json", tmp_path / "after.json"]
    names = [result.name for result in read_all_results(files)]
    assert names == ["m (before)", "otherbefore", "m (after)", "otherafter"]


def test_every_number_has_a_line_in_csv() -> None:
    one = measured("a, b", fingerprint="f00d")
    rows = list(csv.DictReader(io.StringIO(as_csv([one]))))
    assert len(rows) == 2 * 2 * 3 + 1
    assert {row["model"] for row in rows} == {"a, b"}
    row = rows[0]
    assert (row["task"], row["metric"]) == ("long, text to image", "R@1")
    assert one.long
    assert float(row["value"]) == one.long.recall.text_to_image[1]
    assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert (row["images"], row["candidates"], row["fingerprint"]) == ("5", "5", "f00d")
    assert rows[-1]["task"] == "zero-shot, things"
    assert rows[-1]["candidates"] == "5"


def test_latex_escapes_and_marks_the_best() -> None:
    best, worst = measured("a_b & 100%"), measured("short", context_length=3)
    text = as_latex([best, replace(worst, partial=True)])
    assert r"$^*$ on a part of the data" in text
    assert "part of" not in as_latex([best, worst])
    assert best.long
    first = f"{100 * best.long.recall.text_to_image[1]:.1f}"
    assert rf"a\_b \& 100\% & \textbf{{{first}}} & " in text
    assert "$^*$" in text.splitlines()[-4]
    assert r"\multicolumn{13}{c}{painted/test}" in text
    assert text.count(r"\multicolumn{3}{c}{long, text to image}") == 1
    columns = [line.count("&") for line in text.splitlines() if line.endswith(r"\\")]
    # The name of the first model has one more, escaped; the line that explains the star has none.
    assert columns[2:] == [13, 13 + 1, 13, 0]
    assert "--" in as_latex([best, replace(worst, short=None)])


def test_comparisons_need_the_same_data() -> None:
    with pytest.raises(ValueError, match="same images and texts"):
        results_tables({"a": [measured(fingerprint="1")], "b": [measured(fingerprint="2")]})


def test_tables_hold_intervals_comparisons_and_published_numbers() -> None:
    pinned = {"protocol": "pinned", "collection": "urban1k"}
    a, b = measured("a", context_length=3, **pinned), measured("b", **pinned)
    long, *_ = results_tables({"a": [a], "b": [b]})
    first, second, *quoted = long.rows
    assert first.cells[0]
    assert first.cells[0].p is None
    assert second.cells[0]
    assert b.long
    interval = b.long.intervals().text_to_image[1]
    assert second.cells[0].interval == (interval.low, interval.high)
    assert second.cells[0].p is not None
    assert "Long-CLIP B/16 (published)" in [row.model for row in quoted]
    assert all(row.quoted for row in quoted)
    partly = replace(a, partial=True)
    assert not any(row.quoted for row in results_tables({"a": [partly]})[0].rows)
    assert results_tables({"a": [partly]})[0].title == "urban1k (partial): long descriptions"


def test_measurements_are_those_of_the_result() -> None:
    found = {(m.task, m.metric): m.value for m in measurements(measured())}
    assert found["short, image to text", "R@5"] == 1.0
    assert found["zero-shot, things", "top-1"] == measured().zero_shot["things"].accuracy
