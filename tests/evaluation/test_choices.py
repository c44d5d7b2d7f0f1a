"""Choices: each rule against comparisons made one by one, and from files to tables."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longclip.data.collection import Choice, ChoiceSet
from longclip.errors import DataError, UsageError
from longclip.evaluation import EvaluateConfig, evaluate, export_inputs, results_tables
from longclip.evaluation.benchmarks import BENCHMARKS, data_digest, open_benchmark
from longclip.evaluation.choices import answer_choices
from longclip.evaluation.leaderboard import leaderboard
from longclip.evaluation.results import read_results, write_results
from longclip.evaluation.stats import bootstrap_choices, compare_choices
from longclip.evaluation.tables import measurements
from tests.data.test_choices import pair, write
from tests.helpers.encoders import BagOfTokens, PaintedTexts, cosine, painted, vector_of


def embed(texts):
    return torch.stack([vector_of(text) for text in texts])


def made(rule, width, images=1, count=40):
    return ChoiceSet(
        "made",
        rule,
        tuple(
            Choice(
                tuple((n + i) % 7 for i in range(images)),
                tuple(f"{n} {k}" for k in range(width)),
                f"kind {n % 3}",
            )
            for n in range(count)
        ),
    )


IMAGES = torch.stack([vector_of(("image", i)) for i in range(7)])


def score(image, text):
    return cosine(IMAGES[image].tolist(), vector_of(text).tolist())


def answered(choices, **options):
    return answer_choices(choices, {i: i for i in range(7)}, IMAGES, embed, **options)


@pytest.mark.parametrize("width", [2, 5])
def test_the_first_text_must_beat_all_others(width):
    choices = made("first", width)
    found = answered(choices)
    right = [
        score(one.images[0], one.texts[0]) > max(score(one.images[0], t) for t in one.texts[1:])
        for one in choices.choices
    ]
    assert found.correct["accuracy"].tolist() == right
    assert found.scores == {"accuracy": pytest.approx(sum(right) / 40)}
    assert found.chance == {"accuracy": 1 / width}
    of_first = right[::3]
    assert found.by_category("accuracy")["kind 0"] == pytest.approx(sum(of_first) / len(of_first))


def test_two_true_texts_must_beat_the_false_one_and_be_alike():
    choices = made("first two", 3)
    found = answered(choices)
    images, texts = [], []
    for one in choices.choices:
        a, b, false = (score(one.images[0], text) for text in one.texts)
        images.append(a > false and b > false)
        x, y, z = (vector_of(text).tolist() for text in one.texts)
        texts.append(cosine(x, y) > max(cosine(x, z), cosine(y, z)))
    assert found.correct["image to text"].tolist() == images
    assert found.correct["texts alone"].tolist() == texts
    assert 0 < sum(images) < 40


def test_winogrounds_scores():
    choices = made("pairs", 2, images=2, count=60)
    found = answered(choices)
    text, image = [], []
    for one in choices.choices:
        (a, b), (c, d) = ([score(i, t) for t in one.texts] for i in one.images)
        text.append(a > b and d > c)
        image.append(a > c and d > b)
    both = [x and y for x, y in zip(text, image, strict=True)]
    assert found.correct["text"].tolist() == text
    assert found.correct["image"].tolist() == image
    assert found.correct["group"].tolist() == both
    assert 0 < sum(both) < min(sum(text), sum(image)) < 60
    assert found.chance["group"] == pytest.approx(1 / 6)


def test_ties_count_against_the_model():
    choices = ChoiceSet("ties", "first", (Choice((0,), ("same", "same"), "x"),))
    assert answered(choices).scores == {"accuracy": 0.0}
    choices = ChoiceSet("ties", "pairs", (Choice((0, 1), ("same", "same"), "x"),))
    assert answered(choices).scores["text"] == 0.0


def test_the_mean_is_over_the_categories_that_count():
    choices = replace(made("first", 2), left_out=frozenset(["kind 1"]))
    found = answered(choices)
    shares = found.by_category("accuracy")
    assert found.in_mean == ("kind 0", "kind 2")
    assert found.mean_of_categories == pytest.approx((shares["kind 0"] + shares["kind 2"]) / 2)
    # Of 40 questions the first kind has 14 and the others 13.
    assert answered(replace(made("first", 2), least=14)).in_mean == ("kind 0",)
    assert answered(made("first", 2)).mean_of_categories is None


def test_questions_about_pictures_that_cannot_be_read_are_left_out():
    choices = made("first", 2)
    found = answer_choices(choices, {0: 0, 3: 1}, IMAGES[[0, 3]], embed)
    assert found.questions == sum(one.images[0] in (0, 3) for one in choices.choices)
    whole = answered(choices)
    kept = [i for i, one in enumerate(choices.choices) if one.images[0] in (0, 3)]
    assert torch.equal(found.correct["accuracy"], whole.correct["accuracy"][kept])
    with pytest.raises(UsageError, match="no question whose pictures"):
        answer_choices(choices, {}, IMAGES, embed)


def test_intervals_draw_pictures_with_all_their_questions():
    one_picture = ChoiceSet(
        "x", "first", tuple(Choice((0,), (f"{n}", f"not {n}"), "x") for n in range(50))
    )
    found = bootstrap_choices(answered(one_picture), "accuracy")
    assert found.low == found.value == found.high, "there is one picture to draw"
    spread = bootstrap_choices(answered(made("first", 2)), "accuracy")
    assert spread.low < spread.value < spread.high


def test_models_are_compared_on_the_same_questions():
    a = answered(made("first", 2))
    same = compare_choices(a, a, "accuracy")
    assert (same.interval.value, same.p_value) == (0.0, 1.0)
    with pytest.raises(UsageError, match="different questions"):
        compare_choices(a, answered(made("first", 2, count=39)), "accuracy")


class Asked(PaintedTexts):
    def choice_sets(self):
        texts = [p for p in self.pictures if p]
        return (
            ChoiceSet(
                "asked",
                "first",
                tuple(
                    Choice((i,), (text, text.replace("red", "blue")), text.split()[0])
                    for i, text in enumerate(texts)
                ),
            ),
        )


PICTURES = ("a red car", "two red boats", "a red dog", "no colour")


def measured(name="m", **changes):
    collection = Asked(PICTURES)
    result = evaluate(BagOfTokens(), collection, name=name, config=EvaluateConfig())
    return replace(result, **changes)


def test_choices_are_measured_written_and_read(tmp_path: Path) -> None:
    one = measured(protocol="pinned", fingerprint="f")
    answers = one.choices["asked"]
    assert answers.correct["accuracy"].tolist() == [True, True, True, False], "the last is a tie"
    assert (one.long, one.short, one.zero_shot) == (None, None, {})
    write_results(tmp_path / "r.json", [one])
    [again] = read_results(tmp_path / "r.json")
    assert again.choices["asked"].scores == answers.scores
    assert torch.equal(again.choices["asked"].picture_of, answers.picture_of)
    assert results_tables({"m": [again]}) == results_tables({"m": [one]})
    # Results of earlier versions have none.
    content = json.loads((tmp_path / "r.json").read_text())
    del content["results"][0]["choices"]
    (tmp_path / "r.json").write_text(json.dumps(content))
    assert read_results(tmp_path / "r.json")[0].choices == {}
    [row] = measurements(one)
    assert (row.task, row.metric, row.value) == ("choice, asked", "accuracy", 0.75)
    assert (row.images, row.candidates) == (4, 4)


def test_tables_of_choices() -> None:
    scores, categories = results_tables({"a": [measured()], "b": [measured()]})
    assert scores.title == "painted/test: choices"
    assert scores.note == "4 questions; guessing gives 50"
    assert scores.columns == ("accuracy",)
    assert [row.cells[0].percent for row in scores.rows] == [75.0, 75.0]
    assert scores.rows[1].cells[0].p == 1.0
    assert categories.columns == ("a (2)", "two (1)", "no (1)")
    assert [cell.percent for cell in categories.rows[0].cells] == [100.0, 100.0, 0.0]


def test_other_programs_get_the_candidates(tmp_path: Path) -> None:
    found = export_inputs(Asked(PICTURES), tmp_path)
    lines = (found.directory / "texts.jsonl").read_text().splitlines()
    assert {json.loads(line)["text"] for line in lines} >= {"a red car", "a blue car"}


def test_a_benchmark_of_choices_is_opened_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "sugarcrepe++"
    for category in ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att"):
        write(folder / f"{category}.json", [pair("1.png", 0, caption2="also")])
    (folder / "val2017").mkdir()
    painted("a red car").save(folder / "val2017/1.png")
    with pytest.raises(DataError, match="found 5 of 4,757 questions"):
        open_benchmark("sugarcrepe++", tmp_path)
    small = replace(BENCHMARKS["sugarcrepe++"], questions=5)
    opened = open_benchmark(small, tmp_path)
    assert not opened.partial
    before = data_digest(opened.collection)
    result = evaluate(BagOfTokens(), opened.collection, name="mine")
    assert result.choices["sugarcrepe++"].questions == 5
    result = replace(result, collection=small.name, protocol=small.protocol)
    board = leaderboard(small, [result])
    assert board.refused == ()
    assert set(board.rows[0].metrics) == {"image to text", "texts alone"}
    [reason] = leaderboard(replace(small, questions=6), [result]).refused
    assert reason.endswith("it has 5 questions, the benchmark 6")

    write(folder / "swap_att.json", [pair("1.png", 1, caption2="also")])
    assert data_digest(open_benchmark(small, tmp_path).collection) != before
    (folder / "val2017/1.png").unlink()
    with pytest.raises(DataError, match="1 image is missing"):
        open_benchmark(small, tmp_path, allow_partial=True)


def test_of_a_round_number_of_questions_nearly_all_must_be_there(tmp_path: Path) -> None:
    folder = tmp_path / "sugarcrepe"
    rows = {str(i): pair("1.png", i) for i in range(20)}
    files = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj")
    for category in (*files, "add_att"):
        write(folder / f"{category}.json", rows if category == "swap_obj" else {})
    (folder / "val2017").mkdir()
    painted("a red car").save(folder / "val2017/1.png")
    for wanted in (20, 21, 15):
        opened = open_benchmark(replace(BENCHMARKS["sugarcrepe"], questions=wanted), tmp_path)
        assert not opened.partial
    with pytest.raises(DataError, match="found 20 of about 22 questions"):
        open_benchmark(replace(BENCHMARKS["sugarcrepe"], questions=22), tmp_path)
    with pytest.raises(DataError, match="found 20 of about 7,500 questions"):
        open_benchmark("sugarcrepe", tmp_path)


def test_the_relations_that_are_left_out() -> None:
    from longclip.evaluation.benchmarks.choice_sets import _left_out_relations

    names = _left_out_relations()
    assert len(names) == len(set(names)) == 157
    assert {"next to", "near", "riding on"} <= set(names)
    assert not {"behind", "to the left of", "wearing"} & set(names)
