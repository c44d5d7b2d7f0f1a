"""Readers of SugarCrepe, SugarCrepe++, ARO and Winoground, on small copies of each layout."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from longclip.data.layouts import choices
from longclip.errors import DataError, ImageError
from tests.helpers.table_files import png, write_jsonl, write_parquet, write_png

CATEGORIES = ("replace_obj", "swap_att")


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def pair(file: str, number: int, **more: str) -> dict[str, str]:
    texts = {"caption": f"true {number}", "negative_caption": f"false {number}"}
    return {"filename": file, **texts, **more}


def sugarcrepe(root: Path) -> Path:
    rows = [pair("1.jpg", 0), pair("2.jpg", 1)]
    write(root / "data/replace_obj.json", {str(i): row for i, row in enumerate(rows)})
    write(root / "data/swap_att.json", {"0": pair("1.jpg", 2)})
    for colour, name in (("red", "1"), ("blue", "2")):
        write_png(root / "val2017" / f"{name}.jpg", colour)
    return root


def opened(root: Path, **options: Any) -> choices.ChoiceCollection:
    settings = {
        "categories": CATEGORIES,
        "captions": ("caption", "negative_caption"),
        "rule": "first",
        **options,
    }
    return choices.open_sugarcrepe(root, "sugarcrepe", **settings)


class TestSugarCrepe:
    def test_rows_of_all_files_ask_about_coco(self, tmp_path: Path) -> None:
        found = opened(sugarcrepe(tmp_path))
        [questions] = found.choice_sets()
        assert questions.rule == "first"
        asked = [(one.images, one.texts, one.category) for one in questions.choices]
        assert asked == [
            ((0,), ("true 0", "false 0"), "replace_obj"),
            ((1,), ("true 1", "false 1"), "replace_obj"),
            ((0,), ("true 2", "false 2"), "swap_att"),
        ]
        assert len(found) == 2, "a picture that is asked about twice is one"
        assert found.image(1).getpixel((0, 0)) == (0, 0, 255)
        assert found.problems == ()

    def test_the_second_edition_has_lists_and_two_true_captions(self, tmp_path: Path) -> None:
        for category in CATEGORIES:
            row = pair("1.jpg", 0, caption2="also true")
            write(tmp_path / f"{category}.json", [row])
        write_png(tmp_path / "images" / "1.jpg", "red")
        captions = ("caption", "caption2", "negative_caption")
        [questions] = opened(tmp_path, captions=captions, rule="first two").choice_sets()
        assert questions.rule == "first two"
        assert questions.choices[1].texts == ("true 0", "also true", "false 0")

    def test_questions_without_their_picture_are_a_problem(self, tmp_path: Path) -> None:
        (sugarcrepe(tmp_path) / "val2017/1.jpg").unlink()
        found = opened(tmp_path)
        assert found.problems == ("1 image is missing (1.jpg)",)
        [questions] = found.choice_sets()
        assert [one.texts[0] for one in questions.choices] == ["true 1"]
        assert questions.choices[0].images == (0,)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ('{"0": {"filename": "1.jpg"', "damaged JSON"),
            ('"rows"', "is no list of rows"),
            ([{"filename": "1.jpg", "caption": "x"}], "has no 'negative_caption'; is it the publ"),
            ([pair("../../1.jpg", 0)], "'filename' is '../../1.jpg', no file name"),
            ([pair("1.jpg", 0, caption=" ")], "'caption' is ' ', no text"),
            ([{**pair("1.jpg", 0), "caption": ["x"]}], "no text; copy the file again"),
            (["row"], "has no 'filename'"),
        ],
    )
    def test_a_damaged_file_is_named(self, tmp_path: Path, content: object, says: str) -> None:
        path = write(sugarcrepe(tmp_path) / "data/swap_att.json", content)
        with pytest.raises(DataError, match=says) as caught:
            opened(tmp_path)
        assert str(path) in str(caught.value)

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        (sugarcrepe(tmp_path) / "data/swap_att.json").unlink()
        with pytest.raises(DataError, match=r"holds no replace_obj\.json, swap_att\.json"):
            opened(tmp_path)
        write(tmp_path / "data/swap_att.json", [])
        (tmp_path / "val2017").rename(tmp_path / "pictures")
        with pytest.raises(DataError, match="holds no folder of COCO's pictures"):
            opened(tmp_path)


def relation(file: str, box: tuple[float, ...], name: str = "behind") -> dict[str, Any]:
    texts = {"true_caption": f"{name} {box}", "false_caption": f"not {name}"}
    sides = {f"bbox_{side}": value for side, value in zip("xywh", box, strict=True)}
    return {"image_path": file, **sides, **texts, "relation_name": name, "attributes": ["a", name]}


class TestVisualGenome:
    file = "visual_genome_relation.json"

    def copy(self, root: Path, *rows: dict[str, Any]) -> Path:
        write(root / self.file, list(rows))
        picture = Image.new("RGB", (6, 4), "red")
        picture.putpixel((4, 2), (0, 0, 255))
        (root / "images").mkdir()
        picture.save(root / "images/1.png")
        return root

    def test_a_box_is_cut_out_of_the_picture(self, tmp_path: Path) -> None:
        boxes = [(0, 0, 3, 2), (4, 2, 1, 2), (0, 0, 3, 2)]
        root = self.copy(tmp_path, *(relation("1.png", box) for box in boxes))
        found = choices.open_visual_genome(root, "aro", file=self.file, category="relation_name")
        [questions] = found.choice_sets()
        assert [one.images for one in questions.choices] == [(0,), (1,), (0,)]
        assert [one.category for one in questions.choices] == ["behind"] * 3
        assert [found.image(i).size for i in range(2)] == [(3, 2), (1, 2)]
        assert found.image(1).getpixel((0, 0)) == (0, 0, 255)
        assert found.key(0) != found.key(1), "other parts of one file are other pictures"
        assert found.key(0) == found.key(0)

    def test_pairs_of_attributes_are_a_category(self, tmp_path: Path) -> None:
        root = self.copy(tmp_path, relation("1.png", (0, 0, 1, 1)))
        found = choices.open_visual_genome(
            root, "aro", file=self.file, category="attributes", least=25, left_out=("a_b",)
        )
        [questions] = found.choice_sets()
        assert questions.choices[0].category == "a_behind"
        assert (questions.least, questions.left_out) == (25, {"a_b"})

    def test_faults(self, tmp_path: Path) -> None:
        root = self.copy(tmp_path, relation("1.png", (0, 0, 0, 2)), relation("2.png", (0, 0, 1, 1)))

        def read() -> choices.ChoiceCollection:
            return choices.open_visual_genome(root, "x", file=self.file, category="relation_name")

        found = read()
        assert found.problems == ("1 image is missing (2.png)",)
        with pytest.raises(ImageError, match=r"the box .* is empty"):
            found.image(0)
        write(root / self.file, [{**relation("1.png", (0, 0, 1, 1)), "bbox_w": "wide"}])
        with pytest.raises(DataError, match="'bbox_w' is 'wide', no number"):
            read()
        write(root / self.file, {"rows": []})
        with pytest.raises(DataError, match="is no list of rows"):
            read()
        (root / self.file).unlink()
        with pytest.raises(DataError, match=r"holds no visual_genome_relation\.json, images"):
            read()


class TestWinoground:
    def copy(self, root: Path) -> Path:
        for example in (0, 1):
            for i, colour in enumerate(("red", "blue")):
                write_png(root / f"data/images/ex_{example}_img_{i}.png", colour)
        rows = [
            {
                "id": n,
                **{f"image_{i}": f"ex_{n}_img_{i}" for i in (0, 1)},
                "caption_0": f"old {n}",
                "caption_1": f"young {n}",
                "tag": "Adjective",
                "collapsed_tag": "Object",
            }
            for n in (0, 1)
        ]
        write_jsonl(root / "data/examples.jsonl", *rows)
        return root

    def test_each_example_has_two_pictures_and_captions(self, tmp_path: Path) -> None:
        found = choices.open_winoground(self.copy(tmp_path), "winoground")
        [questions] = found.choice_sets()
        assert questions.rule == "pairs"
        asked = [(one.images, one.texts, one.category) for one in questions.choices]
        assert asked == [
            ((0, 1), ("old 0", "young 0"), "Object"),
            ((2, 3), ("old 1", "young 1"), "Object"),
        ]
        assert found.image(3).getpixel((0, 0)) == (0, 0, 255)

    def test_an_example_that_lacks_a_picture_is_left_out(self, tmp_path: Path) -> None:
        (self.copy(tmp_path) / "data/images/ex_0_img_1.png").unlink()
        found = choices.open_winoground(tmp_path, "winoground")
        [questions] = found.choice_sets()
        assert [one.texts[0] for one in questions.choices] == ["old 1"]
        assert found.problems == ("1 image is missing (ex_0_img_1.png)",)
        # The picture that is there is one of the collection, and nothing asks about it.
        assert [found.image(i).getpixel((0, 0)) for i in questions.choices[0].images] == [
            (255, 0, 0),
            (0, 0, 255),
        ]

    def test_a_damaged_line(self, tmp_path: Path) -> None:
        path = self.copy(tmp_path) / "data/examples.jsonl"
        path.write_text(path.read_text() + "{", encoding="utf-8")
        with pytest.raises(DataError, match="damaged JSON"):
            choices.open_winoground(tmp_path, "winoground")


class TestOrders:
    columns = ("correct_caption", "hard_text_1", "hard_text_2", "hard_text_3", "hard_text_4")

    def test_each_row_has_five_orders(self, tmp_path: Path) -> None:
        pytest.importorskip("datasets")
        images = [{"bytes": png(colour), "path": None} for colour in ("red", "red", "blue")]
        texts = {name: [f"{name} {i}" for i in range(3)] for name in self.columns}
        path = write_parquet(tmp_path / "test.parquet", images=images, **texts)
        found = choices.open_orders([path], "order")
        [questions] = found.choice_sets()
        assert len(found) == 3
        assert questions.choices[2].images == (2,)
        assert questions.choices[2].texts == tuple(f"{name} 2" for name in self.columns)
        assert found.image(2).getpixel((0, 0)) == (0, 0, 255)
        assert not found.captions(0).short

    def test_other_tables_are_refused(self, tmp_path: Path) -> None:
        pytest.importorskip("datasets")
        images = [{"bytes": png("red"), "path": None}]
        path = write_parquet(tmp_path / "a.parquet", images=images, correct_caption=["x"])
        with pytest.raises(DataError, match="has no column hard_text_1, hard_text_2"):
            choices.open_orders([path], "order")
