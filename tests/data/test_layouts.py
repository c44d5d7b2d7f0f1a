"""Readers of published layouts, on small copies of each."""

import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longclip.data import Captions, Collection, json_files
from longclip.data.layouts import benchmark_table as parquet
from longclip.data.layouts import classification, descriptions, short_captions
from longclip.errors import DataError, ImageError
from tests.helpers.table_files import write_jsonl, write_parquet, write_png


def texts(collection: Collection) -> list[Captions]:
    return [collection.captions(i) for i in range(len(collection))]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def picture(path: Path, number: int) -> Path:
    """A picture that is `number + 1` pixels wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (number + 1, 3), (9 * number, 5, 7)).save(path, "PNG")
    return path


class TestStems:
    def urban(self, root: Path, stems: Sequence[str] = ("3", "10", "1", "2")) -> Path:
        for stem in stems:
            picture(root / "image" / f"{stem}.jpg", int(stem))
            write(root / "caption" / f"{stem}.txt", f"Scene {stem}.\nIts end {stem}.\n")
        return root

    def test_pairs_are_made_by_stem_in_sorted_order(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.urban(tmp_path)
        import os

        real = os.listdir

        def shuffled(path: Path) -> list[str]:
            names = real(path)
            random.Random(str(path)).shuffle(names)
            return names

        monkeypatch.setattr("os.listdir", shuffled)
        found = descriptions.open_stem_pairs(tmp_path, "x")
        assert [found.image(i).width for i in range(4)] == [2, 11, 3, 4]
        assert texts(found)[1] == Captions(long=("Scene 10.\nIts end 10.",))
        assert found.problems == ()

    def test_first_line(self, tmp_path: Path) -> None:
        found = descriptions.open_stem_pairs(self.urban(tmp_path), "x", first_line=True)
        assert texts(found)[0] == Captions(long=("Scene 1.",))

    def test_strange_files_and_extensions(self, tmp_path: Path) -> None:
        self.urban(tmp_path / "Urban1k")
        write(tmp_path / ".DS_Store", b"\0")
        write(tmp_path / "Urban1k" / "image" / ".DS_Store", b"\0")
        write(tmp_path / "Urban1k" / "image" / "._1.jpg", b"\0")
        write(tmp_path / "Urban1k" / "caption" / "._1.txt", b"\xff")
        write(tmp_path / "Urban1k" / "image" / "README.md", "about")
        (tmp_path / "Urban1k" / "image" / "2.jpg").rename(tmp_path / "Urban1k" / "image" / "2.JPG")
        (tmp_path / "Urban1k" / "caption" / "3.txt").rename(
            tmp_path / "Urban1k" / "caption" / "3.TXT"
        )
        found = descriptions.open_stem_pairs(tmp_path, "x")
        assert (len(found), found.problems) == (4, ())

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        write(self.urban(tmp_path) / "caption" / "1.txt", b"\xef\xbb\xbfcaf\xc3\xa9")
        assert texts(descriptions.open_stem_pairs(tmp_path, "x"))[0] == Captions(long=("café",))

    def test_what_is_missing_is_told(self, tmp_path: Path) -> None:
        self.urban(tmp_path)
        (tmp_path / "image" / "1.jpg").unlink()
        (tmp_path / "caption" / "2.txt").unlink()
        write(tmp_path / "caption" / "3.txt", " \n")
        found = descriptions.open_stem_pairs(tmp_path, "x")
        assert len(found) == 1
        assert found.problems == (
            "1 image has no caption file (2)",
            "1 caption file has no image (1)",
            "1 image has an empty caption (3.jpg)",
        )

    def test_other_folders(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no folders `image` and `caption`"):
            descriptions.open_stem_pairs(tmp_path / "nowhere", "x")
        write(self.urban(tmp_path) / "caption" / "1.txt", b"caf\xe9")
        with pytest.raises(DataError, match=r"1\.txt is not UTF-8"):
            descriptions.open_stem_pairs(tmp_path, "x")

    def test_a_picture_that_goes_away(self, tmp_path: Path) -> None:
        found = descriptions.open_stem_pairs(self.urban(tmp_path), "x")
        keys = [found.key(i) for i in range(4)]
        assert len(set(keys)) == 4
        (tmp_path / "image" / "1.jpg").unlink()
        for use in (found.key, found.image):
            with pytest.raises(ImageError, match=r"1\.jpg"):
                use(0)


def sharegpt4v(root: Path, count: int = 5) -> Path:
    rows = [
        {
            "id": str(i),
            "image": f"sam/images/sa_{i}.jpg",
            "conversations": [
                {"from": "human", "value": "<image>"},
                {"from": "gpt", "value": f"Line one of {i}.\nLine two, with ] and é."},
            ],
        }
        for i in range(count)
    ]
    for i in range(count):
        picture(root / "sam" / "images" / f"sa_{i}.jpg", i)
    return write(root / descriptions.SHAREGPT4V, json.dumps(rows, indent=1, ensure_ascii=False))


class TestShareGPT4V:
    @pytest.mark.parametrize("chunk", [3, 50, 1 << 20])
    def test_first_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
        monkeypatch.setattr(json_files, "_READ_CHARACTERS", chunk)
        path = sharegpt4v(tmp_path)
        assert list(islice(json_files.json_rows(path), 3)) == json.loads(path.read_text())[:3]
        assert list(json_files.json_rows(path)) == json.loads(path.read_text())
        found = descriptions.open_sharegpt4v(tmp_path, "x", rows=3)
        expected = [f"Line one of {i}. Line two, with ] and é." for i in range(3)]
        assert texts(found) == [Captions(long=(text,)) for text in expected]
        assert [found.image(i).width for i in range(3)] == [1, 2, 3]

    def test_images_in_data(self, tmp_path: Path) -> None:
        sharegpt4v(tmp_path)
        (tmp_path / "data").mkdir()
        (tmp_path / "sam").rename(tmp_path / "data" / "sam")
        assert len(descriptions.open_sharegpt4v(tmp_path, "x", rows=5)) == 5

    def test_what_follows_the_rows_may_be_anything(self, tmp_path: Path) -> None:
        path = sharegpt4v(tmp_path)
        write(path, path.read_text()[:-2] + ", {broken")
        assert len(descriptions.open_sharegpt4v(tmp_path, "x", rows=5)) == 5
        with pytest.raises(DataError, match=r"json is damaged after row 5 .*download it again"):
            descriptions.open_sharegpt4v(tmp_path, "x", rows=6)

    @pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
    def test_values_that_python_cannot_hold(self, value: str, tmp_path: Path) -> None:
        rows = json_files.json_rows(write(tmp_path / "rows.json", "[{}, " + value))
        assert next(rows) == {}
        with pytest.raises(DataError, match=r"rows\.json is damaged after row 1"):
            next(rows)

    def test_damage_does_not_cost_the_whole_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(json_files, "_READ_CHARACTERS", 10)
        monkeypatch.setattr(json_files, "_MAX_ROW_CHARACTERS", 100)
        path = write(tmp_path / "rows.json", "[{" + " " * 5000 + "}]")
        with pytest.raises(DataError, match="damaged after row 0"):
            next(json_files.json_rows(write(path, "[{ nonsense" + " " * 5000)))
        with pytest.raises(DataError, match="not a JSON list"):
            next(json_files.json_rows(write(path, "{}")))

    def test_rows_of_another_kind(self, tmp_path: Path) -> None:
        write(tmp_path / descriptions.SHAREGPT4V, '[{"conversations": [1]}]')
        with pytest.raises(DataError, match="no second turn"):
            descriptions.open_sharegpt4v(tmp_path, "x", rows=1)
        write(tmp_path / descriptions.SHAREGPT4V, '[{"text": "x"}]')
        with pytest.raises(DataError, match="a row has no 'conversations'"):
            descriptions.open_sharegpt4v(tmp_path, "x", rows=1)

    def test_missing_images(self, tmp_path: Path) -> None:
        sharegpt4v(tmp_path)
        for i in range(5):
            (tmp_path / "sam" / "images" / f"sa_{i}.jpg").unlink()
        found = descriptions.open_sharegpt4v(tmp_path, "x", rows=5)
        assert found.problems == ("5 images are missing (sa_0.jpg, sa_1.jpg, sa_2.jpg, …)",)


def test_docci(tmp_path: Path) -> None:
    rows = [
        {"split": split, "image_file": f"{split}_0000{i}.jpg", "description": f"{split} {i}\u2028."}
        for split in ("train", "test", "qual_test")
        for i in (2, 0, 1)
    ]
    write_jsonl(tmp_path / "docci" / "docci_descriptions.jsonlines", *rows)
    for i in range(3):
        picture(tmp_path / "docci" / "images" / f"test_0000{i}.jpg", i)
    found = descriptions.open_docci(tmp_path, "x")
    assert texts(found) == [Captions(long=(f"test {i}\u2028.",)) for i in range(3)]
    assert [found.image(i).width for i in range(3)] == [1, 2, 3]
    write(tmp_path / "docci" / "docci_descriptions.jsonlines", '{"split": "test"\n')
    with pytest.raises(DataError, match="jsonlines, line 1, is damaged JSON"):
        descriptions.open_docci(tmp_path, "x")


class TestDCI:
    def dci(self, root: Path) -> Path:
        folder = root / "densely_captioned_images"
        for i in range(4):
            row = {
                "image": f"sa_{i}.jpg",
                "short_caption": f"short {i}",
                "extra_caption": "" if i == 2 else f"extra {i}",
                "mask_data": {},
            }
            write(folder / "annotations" / f"{9 - i}-data.json", json.dumps(row))
            picture(folder / "photos" / f"sa_{i}.jpg", i)
        splits = {"train": ["9-data.json", "7-data.json"], "valid": [], "test": ["6-data.json"]}
        write(folder / "splits.json", json.dumps(splits))
        return folder

    def test_all_splits(self, tmp_path: Path) -> None:
        self.dci(tmp_path)
        assert texts(descriptions.open_dci(tmp_path, "x")) == [
            Captions(long=("short 0\nextra 0",)),
            Captions(long=("short 2",)),
            Captions(long=("short 3\nextra 3",)),
        ]

    def test_extra_captions(self, tmp_path: Path) -> None:
        self.dci(tmp_path)
        found = descriptions.open_dci(tmp_path, "x", extra_only=True)
        assert [t.long[0] for t in texts(found)] == ["extra 3", "extra 1", "extra 0"]

    @pytest.mark.parametrize("extra_only", [False, True])
    def test_missing_annotation(self, tmp_path: Path, extra_only: bool) -> None:
        (self.dci(tmp_path) / "annotations" / "6-data.json").unlink()
        found = descriptions.open_dci(tmp_path, "x", extra_only=extra_only)
        assert found.problems == ("1 annotation file is missing (6-data.json)",)

    def test_broken_json(self, tmp_path: Path) -> None:
        write(self.dci(tmp_path) / "annotations" / "9-data.json", "{")
        with pytest.raises(DataError, match=r"9-data\.json is damaged JSON .*copy or download"):
            descriptions.open_dci(tmp_path, "x")
        write(tmp_path / "densely_captioned_images" / "splits.json", "[]")
        with pytest.raises(DataError, match=r"splits\.json holds no splits"):
            descriptions.open_dci(tmp_path, "x")


class TestImageInWords:
    def iiw(self, root: Path) -> Path:
        parts = {
            "DOCCI_Test": ("image", "test_1", "docci"),
            "IIW-400": ("image/key", "aar_test_2", "docci_aar"),
            "DCI_Test": ("image", "sa_3.jpg", "dci"),
        }
        for number, (part, (key, name, folder)) in enumerate(parts.items()):
            write_jsonl(root / part / "data.jsonl", {key: name, "IIW": f"words of {part}"})
            picture(root / folder / f"{name.removesuffix('.jpg')}.jpg", number)
        return root

    def test_three_parts(self, tmp_path: Path) -> None:
        found = descriptions.open_iiw(self.iiw(tmp_path), "x")
        words = [t.long[0] for t in texts(found)]
        assert words == ["words of DOCCI_Test", "words of IIW-400", "words of DCI_Test"]
        assert [found.image(i).width for i in range(3)] == [1, 2, 3]
        assert texts(descriptions.open_iiw(tmp_path, "x", parts=("IIW-400",))) == texts(found)[1:2]

    def test_other_names(self, tmp_path: Path) -> None:
        root = self.iiw(tmp_path)
        (root / "DCI_Test").rename(root / "DCI_TEST")
        (root / "docci").rename(root / "images")
        (root / "images" / "test_1.jpg").rename(root / "images" / "train_1.jpg")
        found = descriptions.open_iiw(root, "x")
        assert (len(found), found.problems) == (3, ())
        (root / "dci" / "sa_3.jpg").unlink()
        (root / "dci").rmdir()
        with pytest.raises(DataError, match="no pictures of DCI_Test: looked for dci, densely"):
            descriptions.open_iiw(root, "x")


class TestCoco:
    def coco(self, root: Path) -> Path:
        images = [{"id": i, "file_name": f"{i:012}.jpg"} for i in (7, 3, 12)]
        rows = [
            {"id": 100 - n, "image_id": i, "caption": f"{i} said {n}."}
            for n in range(6)
            for i in (12, 3, 7)
        ]
        for i in (3, 7, 12):
            picture(root / "val2017" / f"{i:012}.jpg", i)
        content = json.dumps({"images": images, "annotations": rows})
        return write(root / "annotations" / "captions_val2017.json", content)

    def test_five_captions_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        self.coco(tmp_path / "coco")
        found = short_captions.open_coco(tmp_path, "x")
        assert [found.image(i).width for i in range(3)] == [4, 8, 13]
        assert texts(found)[0].short == tuple(f"3 said {n}." for n in range(5))
        assert found.problems == ()

    def test_wrong_number_of_captions(self, tmp_path: Path) -> None:
        path = self.coco(tmp_path)
        content = json.loads(path.read_text())
        content["annotations"] = content["annotations"][:-5]
        write(path, json.dumps(content))
        assert short_captions.open_coco(tmp_path, "x").problems == (
            "2 images have fewer than 5 captions (000000000003.jpg, 000000000007.jpg)",
        )

    def test_damage(self, tmp_path: Path) -> None:
        path = self.coco(tmp_path)
        write(path, path.read_bytes()[:-40])
        with pytest.raises(DataError, match=r"captions_val2017\.json is damaged JSON"):
            short_captions.open_coco(tmp_path, "x")
        write(path, "{}")
        with pytest.raises(DataError, match="has no 'images'; is it the published file"):
            short_captions.open_coco(tmp_path, "x")


@pytest.mark.parametrize("place", [{"filepath": "val2014"}, {}])
def test_karpathy(tmp_path: Path, place: dict[str, str]) -> None:
    rows = [
        {
            "filename": f"{name}.jpg",
            "split": split,
            "sentences": [{"raw": f"{name}{n}", "tokens": [name]} for n in range(7)],
            **place,
        }
        for name, split in (("b", "test"), ("t", "train"), ("a", "test"))
    ]
    write(tmp_path / "dataset.json", json.dumps({"images": rows}))
    for name in "ab":
        picture(tmp_path / "val2014" / f"{name}.jpg", ord(name) - ord("a"))
    found = short_captions.open_karpathy(tmp_path, "x", file="dataset.json", folders=("val2014",))
    assert texts(found) == [Captions(tuple(f"{n}{i}" for i in range(5))) for n in "ba"]
    assert [found.image(i).width for i in range(2)] == [2, 1]


class TestFlickr:
    def flickr(self, root: Path) -> Path:
        order = [(name, n) for n in (4, 0, 2, 1, 3) for name in ("z", "a", "m")]
        write(root / "all.token", "".join(f"{name}.jpg#{n}\t{name}  {n} .\n" for name, n in order))
        for name in "zam":
            picture(root / "flickr30k-images" / f"{name}.jpg", 1)
        return root

    def open(self, root: Path, names_file: str | None = None) -> Collection:
        return short_captions.open_flickr_tokens(
            root,
            "x",
            token_file="all.token",
            folders=short_captions.FLICKR30K_FOLDERS,
            names_file=names_file,
        )

    def test_all_images(self, tmp_path: Path) -> None:
        found = self.open(self.flickr(tmp_path))
        assert texts(found) == [Captions(tuple(f"{i}  {n} ." for n in range(5))) for i in "zam"]

    def test_a_split(self, tmp_path: Path) -> None:
        write(self.flickr(tmp_path) / "test.txt", "m.jpg\na.jpg\nno.jpg\n")
        picture(tmp_path / "flickr30k-images" / "no.jpg", 2)
        found = self.open(tmp_path, "test.txt")
        assert [t.short[0] for t in texts(found)] == ["m  0 .", "a  0 ."]
        assert found.problems == (
            "1 image has fewer than 5 captions (no.jpg)",
            "1 image has an empty caption (no.jpg)",
        )

    @pytest.mark.parametrize("line", ["a.jpg#0 no tab", "a.jpg\ttext", "a.jpg#x\ttext"])
    def test_other_lines(self, tmp_path: Path, line: str) -> None:
        write(self.flickr(tmp_path) / "all.token", "a.jpg#0\ttext\n" + line)
        with pytest.raises(DataError, match="line 2: not"):
            self.open(tmp_path)

    def test_table_of_the_hub(self, tmp_path: Path) -> None:
        self.flickr(tmp_path)
        raw = json.dumps([f'say ""{n}""' for n in range(5)]).replace('"', '""')
        lines = ["raw,sentids,split,filename,img_id"]
        lines += [f'"{raw}","[0]",{split},{n}.jpg,0' for n, split in (("a", "test"), ("z", "val"))]
        write(tmp_path / "flickr_annotations_30k.csv", "\n".join(lines))
        found = short_captions.open_flickr30k_table(tmp_path, "x")
        assert texts(found) == [Captions(tuple(f'say ""{n}""' for n in range(5)))]


class TestClassFolders:
    def open(self, root: Path, *places: str) -> Collection:
        return classification.open_class_folders(
            root,
            "numbers",
            class_of_folder={str(i): i for i in range(12)},
            classes=[f"class {i}" for i in range(12)],
            places=places,
        )

    def test_numbers_are_not_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        for i in range(12):
            picture(tmp_path / "val" / str(i) / "b.JPEG", i)
            picture(tmp_path / "val" / str(i) / "a.png", i)
            write(tmp_path / "val" / str(i) / ".DS_Store", "")
        (tmp_path / "val" / "__MACOSX").mkdir()
        found = self.open(tmp_path, "val")
        [labels] = found.label_sets()
        assert labels.targets == tuple(i for i in range(12) for _ in range(2))
        assert [found.image(i).width - 1 for i in range(24)] == list(labels.targets)
        assert (found.captions(0), found.problems) == (Captions(), ())

    def test_missing_classes(self, tmp_path: Path) -> None:
        for i in range(1, 11):
            picture(tmp_path / str(i) / "a.jpg", i)
        (tmp_path / "11").mkdir()
        picture(tmp_path / "zero" / "a.jpg", 0)
        assert self.open(tmp_path).problems == (
            "1 folder is no class (zero)",
            "2 classes have no image (class 0, class 11)",
        )

    def test_one_flat_folder(self, tmp_path: Path) -> None:
        picture(tmp_path / "ILSVRC2012_val_00000001.JPEG", 1)
        with pytest.raises(DataError, match="no folders called after the classes, such as 0, 1, 2"):
            self.open(tmp_path, "val")


class TestCifar:
    @pytest.mark.parametrize("fine", [False, True])
    def test_records(self, tmp_path: Path, fine: bool) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
        heads = [bytes([7, i]) if fine else bytes([i]) for i in range(6)]
        name = "test.bin" if fine else "test_batch.bin"
        content = b"".join(head + one.tobytes() for head, one in zip(heads, pixels, strict=True))
        write(tmp_path / "cifar-binary" / name, content)
        names = [f"class {i}" for i in range(10)]
        found = classification.open_cifar(tmp_path, "cifar", classes=names, fine=fine)
        assert found.label_sets()[0].targets == tuple(range(6))
        for i in range(6):
            assert (np.asarray(found.image(i)) == pixels[i].transpose(1, 2, 0)).all()
        assert len({found.key(i) for i in range(6)}) == 6
        write(tmp_path / "cifar-binary" / name, content[:-1])
        with pytest.raises(DataError, match="bytes are no whole number of records"):
            classification.open_cifar(tmp_path, "cifar", classes=names, fine=fine)
        write(tmp_path / "cifar-binary" / name, content)
        with pytest.raises(DataError, match="a label is 5, and there are 3 classes"):
            classification.open_cifar(tmp_path, "cifar", classes=names[:3], fine=fine)

    def test_a_pickle_is_not_opened(self, tmp_path: Path) -> None:
        write(tmp_path / "cifar-10-batches-py" / "test_batch", b"cos\nsystem\n(S'false'\ntR.")
        with pytest.raises(DataError, match=r"a pickle; .*cifar-10-binary\.tar\.gz"):
            classification.open_cifar(tmp_path, "cifar10", classes="ab", fine=False)
        with pytest.raises(DataError, match=r"no test\.bin, .*cifar-100-binary\.tar\.gz"):
            classification.open_cifar(tmp_path, "cifar100", classes="ab", fine=True)


class TestParquet:
    @pytest.fixture(autouse=True)
    def _cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def images(self, root: Path, count: int) -> list[dict[str, bytes | None]]:
        return [
            {"bytes": picture(root / "made.png", i).read_bytes(), "path": None}
            for i in range(count)
        ]

    def test_texts(self, tmp_path: Path) -> None:
        path = tmp_path / "one.parquet"
        rows = [[f"{i} {n}" for n in range(6)] for i in range(3)]
        write_parquet(path, image=self.images(tmp_path, 3), captions=rows)
        short = parquet.open_short_texts([path], "x")
        assert texts(short) == [Captions(tuple(row[:5])) for row in rows]
        long = parquet.open_long_texts([path], "x")
        assert texts(long) == [Captions(long=(row[0],)) for row in rows]
        assert [long.image(i).width for i in range(3)] == [1, 2, 3]
        write_parquet(path, img=self.images(tmp_path, 2), caption=["x", " "])
        assert parquet.open_long_texts([path], "x").problems == ("1 row has no text (row 1)",)

    @pytest.mark.parametrize("label", [["n03", "n01", "n02"], ["c", "a", "b"], [2, 0, 1]])
    def test_labels(self, tmp_path: Path, label: list[str | int]) -> None:
        path = write_parquet(tmp_path / "o.parquet", img=self.images(tmp_path, 3), label=label)
        found = parquet.open_labels(
            [path], "abc", classes=("a", "b", "c"), wnids=("n01", "n02", "n03")
        )
        assert found.label_sets()[0].targets == (2, 0, 1)
        assert found.label_sets()[0].classes == ("a", "b", "c")

    def test_labels_with_a_list_of_names(self, tmp_path: Path) -> None:
        import datasets

        names = ["tench, Tinca tinca", "goldfish, Carassius auratus"]
        features = datasets.Features(
            {"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=names)}
        )
        images = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
        rows = {"img": [str(path) for path in images], "fine_label": [1, 0, 1]}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(tmp_path / "o.parquet")
        found = parquet.open_labels([tmp_path / "o.parquet"], "fish", classes=("tench", "goldfish"))
        assert found.label_sets()[0].targets == (1, 0, 1)
        assert found.label_sets()[0].classes == ("tench", "goldfish")

    def test_labels_that_say_too_little(self, tmp_path: Path) -> None:
        for label in (["a", "twin"], ["a", "z"], [0, 3]):
            write_parquet(tmp_path / "o.parquet", img=self.images(tmp_path, 2), label=label)
            with pytest.raises(DataError, match=r"1 label is .* not among the 3 classes of abc"):
                parquet.open_labels([tmp_path / "o.parquet"], "abc", classes=("a", "twin", "twin"))
        write_parquet(tmp_path / "o.parquet", img=self.images(tmp_path, 2))
        with pytest.raises(DataError, match="no label column"):
            parquet.open_labels([tmp_path / "o.parquet"], "abc", classes=("a",))

    def test_files_of_a_folder(self, tmp_path: Path) -> None:
        for name in ("plain/train-0.parquet", "plain/test-0.parquet", "test-1.parquet"):
            write(tmp_path / name, b"")
        write_png(tmp_path / "x.png", "red")
        found = parquet.parquet_files(tmp_path, "test")
        assert [path.name for path in found] == ["test-0.parquet", "test-1.parquet"]
        assert len(parquet.parquet_files(tmp_path, "")) == 3
        assert len(parquet.parquet_files(tmp_path, "val")) == 3
        assert parquet.parquet_files(tmp_path / "x.png", "test") == []

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "o.parquet", b"PAR1 nonsense")
        with pytest.raises(DataError, match=r"o\.parquet cannot be read as parquet"):
            parquet.open_short_texts([path], "x")
