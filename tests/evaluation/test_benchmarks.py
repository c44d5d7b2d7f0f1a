"""Benchmarks by name, on small copies of the published data with their counts made small."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from longclip.data import Captions, ScenesCollection
from longclip.errors import DataError
from longclip.evaluation.benchmarks import (
    BENCHMARKS,
    PUBLISHED,
    SUITES,
    Benchmark,
    data_digest,
    locate,
    open_benchmark,
)
from longclip.evaluation.benchmarks.zero_shot_sets import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    imagenet_classes,
    imagenet_o_classes,
)


def small(name: str, images: int, texts: int = 0, classes: int | None = None) -> Benchmark:
    benchmark = BENCHMARKS[name]
    classes = benchmark.classes if classes is None else classes
    return replace(benchmark, images=images, texts=texts, classes=classes)


def picture(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (number, 5, 7)).save(path, "PNG")
    return path


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def urban(folder: Path, count: int = 3) -> Path:
    for i in range(count):
        picture(folder / "image" / f"{i}.jpg", i)
        write(folder / "caption" / f"{i}.txt", f"Scene {i}.\nMore of {i}.")
    return folder


def coco(folder: Path, images: int = 2) -> Path:
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(images)],
        "annotations": [
            {"id": 10 * i + n, "image_id": i, "caption": f"{i} {n}"}
            for i in range(images)
            for n in range(6)
        ],
    }
    write(folder / "annotations" / "captions_val2017.json", json.dumps(content))
    for i in range(images):
        picture(folder / "val2017" / f"{i}.jpg", i)
    return folder


def flickr8k(folder: Path) -> Path:
    rows = [f"{name}.jpg#{n}\t{name} {n}\n" for name in "abc" for n in range(5)]
    write(folder / "Flickr8k.token.txt", "".join(rows))
    write(folder / "Flickr_8k.testImages.txt", "c.jpg\na.jpg\n")
    for i, name in enumerate("abc"):
        picture(folder / "Flicker8k_Dataset" / f"{name}.jpg", i)
    return folder


def karpathy(folder: Path, file: str, images: str, **place: str) -> Path:
    rows = [
        {
            "filename": f"{i}.jpg",
            "split": "test" if i % 2 else "restval",
            "sentences": [{"raw": f"{i} {n}"} for n in range(6)],
            **place,
        }
        for i in range(4)
    ]
    write(folder / file, json.dumps({"images": rows}))
    for i in range(4):
        picture(folder / images / f"{i}.jpg", i)
    return folder


def flickr30k(folder: Path) -> Path:
    rows = [f"{i}.jpg#{n}\t{i} {n}\n" for i in range(4) for n in range(5)]
    write(folder / "results_20130124.token", "".join(rows))
    return karpathy(folder, "dataset_flickr30k.json", "flickr30k-images")


def dci(folder: Path) -> Path:
    for i in range(2):
        row = {"image": f"{i}.jpg", "short_caption": "s", "extra_caption": f"e{i}"}
        write(folder / "annotations" / f"{i}.json", json.dumps(row))
        picture(folder / "photos" / f"{i}.jpg", i)
    write(folder / "splits.json", json.dumps({"train": ["0.json"], "test": ["1.json"]}))
    return folder


def classes(folder: Path, names: tuple[str, ...]) -> Path:
    for i, name in enumerate(names):
        picture(folder / name / "0.jpg", i % 256)
    return folder


def cifar(folder: Path, fine: bool) -> Path:
    folder.mkdir(parents=True)
    head = b"\1\2" if fine else b"\2"
    (folder / ("test.bin" if fine else "test_batch.bin")).write_bytes((head + bytes(3072)) * 3)
    return folder


def test_urban1k_whole_and_first_line(tmp_path: Path) -> None:
    urban(tmp_path / "Urban1k")
    whole = open_benchmark(small("urban1k", 3, 3), tmp_path)
    assert (whole.partial, whole.problems, whole.path) == (False, (), tmp_path / "Urban1k")
    assert whole.collection.name == "urban1k"
    assert whole.collection.captions(1) == Captions(long=("Scene 1.\nMore of 1.",))
    first = open_benchmark(small("urban1k-first-line", 3, 3), tmp_path)
    assert first.collection.captions(1) == Captions(long=("Scene 1.",))
    assert data_digest(first.collection) != data_digest(whole.collection)


LAYOUTS: dict[str, tuple[Callable[[Path], Path], int, int]] = {
    "urban200": (urban, 3, 3),
    "coco-5k": (coco, 2, 10),
    "coco-karpathy": (lambda f: karpathy(f, "dataset_coco.json", "val2014"), 2, 10),
    "flickr30k-1k": (flickr30k, 2, 10),
    "flickr30k-all": (flickr30k, 4, 20),
    "flickr8k": (flickr8k, 2, 10),
    "dci": (dci, 2, 2),
    "long-dci": (dci, 2, 2),
    "imagenet": (lambda f: classes(f / "val", imagenet_classes()[0]), 1000, 0),
    "imagenet-v2": (lambda f: classes(f, tuple(map(str, range(1000)))), 1000, 0),
    "imagenet-o": (lambda f: classes(f, imagenet_o_classes()[0]), 200, 0),
    "cifar10": (lambda f: cifar(f, False), 3, 0),
    "cifar100": (lambda f: cifar(f, True), 3, 0),
    "cifar100-spaced": (lambda f: cifar(f, True), 3, 0),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout(name: str, tmp_path: Path) -> None:
    build, images, texts = LAYOUTS[name]
    build(tmp_path / name)
    opened = open_benchmark(small(name, images, texts), tmp_path)
    assert not opened.partial
    assert len(opened.collection) == images
    if texts:
        assert opened.collection.label_sets() == ()
    else:
        [labels] = opened.collection.label_sets()
        assert (labels.name, len(labels.classes)) == (name, BENCHMARKS[name].classes)
    by_path = open_benchmark(small(name, images, texts), at=tmp_path / name)
    assert data_digest(by_path.collection) == data_digest(opened.collection)


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_count_is_refused(name: str, tmp_path: Path) -> None:
    build, images, texts = LAYOUTS[name]
    build(tmp_path / name)
    wanted = small(name, images + 1, texts)
    if not wanted.exact:
        assert not open_benchmark(wanted, tmp_path).partial
        return
    with pytest.raises(DataError, match=f"found {images:,} of {images + 1:,} images"):
        open_benchmark(wanted, tmp_path)
    opened = open_benchmark(wanted, tmp_path, allow_partial=True)
    assert opened.partial
    assert len(opened.collection) == images


def test_the_error_of_an_incomplete_copy_tells_all(tmp_path: Path) -> None:
    urban(tmp_path / "urban1k")
    (tmp_path / "urban1k" / "image" / "1.jpg").unlink()
    wanted = small("urban1k", 3, 3)
    with pytest.raises(DataError) as caught:
        open_benchmark(wanted, tmp_path)
    for part in (
        str(tmp_path / "urban1k"),
        "found 2 of 3 images, 2 of 3 texts",
        "1 caption file has no image (1)",
        "allow a partial copy",
        "huggingface.co/datasets/BeichenZhang/Urban1k",
        "0.08 GB",
        "CC BY-NC 4.0",
    ):
        assert part in str(caught.value)
    opened = open_benchmark(wanted, tmp_path, allow_partial=True)
    assert (opened.partial, len(opened.collection)) == (True, 2)


def test_more_files_than_published_are_refused(tmp_path: Path) -> None:
    picture(urban(tmp_path / "urban1k") / "image" / "extra.jpg", 9)
    with pytest.raises(DataError, match=r"1 image has no caption file \(extra\)"):
        open_benchmark(small("urban1k", 3, 3), tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"urban1k is not in .* \(looked for urban1k, Urban1k, Ur"):
        open_benchmark("urban1k", tmp_path)
    with pytest.raises(DataError, match="no folder of data sets was named"):
        open_benchmark("urban1k")
    with pytest.raises(DataError, match=r"there is no .*; check the path"):
        open_benchmark("urban1k", at=tmp_path / "no")
    (tmp_path / "urban1k" / "image").mkdir(parents=True)
    (tmp_path / "urban1k" / "caption").mkdir()
    for allow_partial in (False, True):
        with pytest.raises(DataError, match="found 0 of 1,000 images"):
            open_benchmark("urban1k", tmp_path, allow_partial=allow_partial)
    with pytest.raises(DataError, match=r"no benchmark 'urban1000'; did you mean .*urban1k"):
        open_benchmark("urban1000", tmp_path)


def test_a_pickle_of_cifar_is_refused_in_words(tmp_path: Path) -> None:
    write(tmp_path / "cifar10" / "cifar-10-batches-py" / "test_batch", "")
    with pytest.raises(DataError, match=r"cifar10: .* is a pickle"):
        open_benchmark("cifar10", tmp_path)


def test_places(tmp_path: Path) -> None:
    benchmark = BENCHMARKS["coco-5k"]
    coco(tmp_path)
    assert locate(benchmark, tmp_path) == tmp_path
    assert not open_benchmark(small("coco-5k", 2, 10), tmp_path).partial
    (tmp_path / "coco2017").mkdir()
    assert locate(benchmark, tmp_path) == tmp_path / "coco2017"
    write(tmp_path / "coco-5k.parquet", "")
    assert locate(benchmark, tmp_path) == tmp_path / "coco-5k.parquet"


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    images = [
        {"bytes": picture(tmp_path / "x.png", i).read_bytes(), "path": None} for i in range(2)
    ]
    captions = [[f"{i} {n}" for n in range(5)] for i in range(2)]

    def table(name: str, **columns: Any) -> None:
        pyarrow.parquet.write_table(pyarrow.table({"image": images, **columns}), tmp_path / name)

    table("flickr8k.parquet", captions=captions)
    opened = open_benchmark(small("flickr8k", 2, 10), tmp_path)
    assert opened.collection.captions(1).short == tuple(captions[1])
    assert opened.collection.name == "flickr8k"
    (tmp_path / "docci").mkdir()
    table("docci/test-0.parquet", description=["a long text", "another"])
    opened = open_benchmark(small("docci", 2, 2), tmp_path)
    assert opened.collection.captions(0) == Captions(long=("a long text",))
    table("imagenet-o.parquet", label=["n13052670", "n01443537"])
    opened = open_benchmark(small("imagenet-o", 2), tmp_path)
    assert opened.collection.label_sets()[0].targets == (199, 0)


class TestFingerprint:
    def test_is_about_content_not_names(self, tmp_path: Path) -> None:
        one, other = urban(tmp_path / "one"), urban(tmp_path / "two" / "Urban1k")
        wanted = small("urban1k", 3, 3)
        prints = [
            data_digest(open_benchmark(wanted, at=path).collection) for path in (one, other.parent)
        ]
        assert prints[0] == prints[1]
        assert len(prints[0]) == 64

    @pytest.mark.parametrize("change", ["text", "image", "order"])
    def test_sees_every_change(self, tmp_path: Path, change: str) -> None:
        folder, wanted = urban(tmp_path / "urban1k"), small("urban1k", 3, 3)
        before = data_digest(open_benchmark(wanted, tmp_path).collection)
        if change == "text":
            write(folder / "caption" / "2.txt", "Scene 2.\nMore of 3.")
        elif change == "image":
            picture(folder / "image" / "2.jpg", 77)
        else:
            for kind, suffix in (("image", "jpg"), ("caption", "txt")):
                (folder / kind / f"0.{suffix}").rename(folder / kind / f"9.{suffix}")
        assert data_digest(open_benchmark(wanted, tmp_path).collection) != before

    def test_sees_labels(self, tmp_path: Path) -> None:
        folder = classes(tmp_path / "imagenet-o", imagenet_o_classes()[0])
        before = data_digest(open_benchmark(small("imagenet-o", 200), tmp_path).collection)
        (folder / "n01443537").rename(folder / "x")
        (folder / "n01704323").rename(folder / "n01443537")
        (folder / "x").rename(folder / "n01704323")
        assert data_digest(open_benchmark(small("imagenet-o", 200), tmp_path).collection) != before

    def test_where_texts_begin_and_end(self) -> None:
        class Fake(ScenesCollection):
            def __init__(self, *texts: str) -> None:
                super().__init__("test", size=1)
                self.texts = texts

            def captions(self, index: int) -> Captions:
                return Captions(self.texts)

        prints = {data_digest(Fake(*texts)) for texts in (("ab", "c"), ("a", "bc"), ("abc",), ())}
        assert len(prints) == 4

    def test_unreadable_images_have_a_place(self, tmp_path: Path) -> None:
        folder = urban(tmp_path / "urban1k")
        collection = open_benchmark(small("urban1k", 3, 3), tmp_path).collection
        before = data_digest(collection)
        (folder / "image" / "1.jpg").unlink()
        assert data_digest(collection) != before


class TestDownload:
    def fake_hub(self, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> list[Any]:
        calls: list[Any] = []

        def snapshot_download(repo: str, *, local_dir: Path, **options: Any) -> str:
            calls.append((repo, options))
            (Path(local_dir) / name).write_bytes(content)
            return str(local_dir)

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
        return calls

    def archive(self, folder: Path, kind: str) -> bytes:
        file = io.BytesIO()
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if kind == "zip":
            with zipfile.ZipFile(file, "w") as content:
                for path in paths:
                    content.write(path, str(path.relative_to(folder)))
        else:
            with tarfile.open(fileobj=file, mode="w:gz") as tar:
                for path in paths:
                    tar.add(path, str(path.relative_to(folder)))
        return file.getvalue()

    def test_zip(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        urban(tmp_path / "made" / "Urban1k")
        content = self.archive(tmp_path / "made", "zip")
        calls = self.fake_hub(monkeypatch, "Urban-1k.zip", content)
        root, wanted = tmp_path / "root", small("urban1k", 3, 3)
        with pytest.raises(DataError, match="--download"):
            open_benchmark(wanted, root)
        for _ in range(2):
            opened = open_benchmark(wanted, root, download=True)
            assert opened.path == root / "urban1k"
        assert calls == [("BeichenZhang/Urban1k", {"repo_type": "dataset", "allow_patterns": None})]
        assert [path.name for path in root.iterdir()] == ["urban1k"]

    def test_tar(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = tmp_path / "made" / "imagenetv2-matched-frequency-format-val"
        classes(made, tuple(map(str, range(1000))))
        self.fake_hub(
            monkeypatch,
            "imagenetv2-matched-frequency.tar.gz",
            self.archive(tmp_path / "made", "tar"),
        )
        opened = open_benchmark(small("imagenet-v2", 1000), tmp_path / "root", download=True)
        assert opened.collection.label_sets()[0].targets == tuple(range(1000))

    def test_archives_stay_in_their_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("../../escaped"), io.BytesIO())
        self.fake_hub(monkeypatch, "evil.tar", file.getvalue())
        with pytest.raises(DataError, match=r"evil\.tar is damaged"):
            open_benchmark("urban1k", tmp_path / "root", download=True)
        assert not (tmp_path / "escaped").exists()

    def test_a_damaged_archive(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake_hub(monkeypatch, "Urban-1k.zip", b"PK nonsense")
        with pytest.raises(DataError, match=r"Urban-1k\.zip is damaged"):
            open_benchmark("urban1k", tmp_path, download=True)
        assert not (tmp_path / "urban1k").exists()
        assert not list((tmp_path / ".urban1k.download").iterdir())

    def test_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any, **__: Any) -> str:
            raise ConnectionError("no route")

        monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
        with pytest.raises(DataError, match=r"could not be downloaded \(no route\).*by hand: Urb"):
            open_benchmark("urban1k", tmp_path, download=True)

    def test_what_the_hub_has_not(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="docci cannot be downloaded for you"):
            open_benchmark("docci", tmp_path, download=True)


def test_the_catalogue_is_consistent() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert name in benchmark.folders
        assert bool(benchmark.texts) is (benchmark.task in ("long", "short"))
        assert bool(benchmark.questions) is (benchmark.task == "choice")
        assert bool(benchmark.classes) is (benchmark.task == "zero-shot")
        for words in ("title", "protocol", "source", "licence", "get", "layout"):
            assert getattr(benchmark, words).strip(), (name, words)
        json.dumps(benchmark.to_json())
    for names in SUITES.values():
        assert set(names) <= set(BENCHMARKS)
    assert set(SUITES["paper"]) <= set(PUBLISHED) <= set(BENCHMARKS)


def test_published_numbers() -> None:
    long = PUBLISHED["urban1k"]["Long-CLIP B/16"]
    assert long.metrics == {"image_to_text R@1": 78.9, "text_to_image R@1": 79.5}
    assert "Long-CLIP" in long.source
    assert PUBLISHED["imagenet"]["CLIP L/14"].metrics == {"top1": 75.5}
    everything = [numbers for models in PUBLISHED.values() for numbers in models.values()]
    assert all(0 < value < 100 for one in everything for value in one.metrics.values())
    assert all(one.source for one in everything)


def test_class_names() -> None:
    wnids, names = imagenet_classes()
    assert (len(set(wnids)), len(names)) == (1000, 1000)
    assert list(wnids) == sorted(wnids)
    assert (wnids[0], names[0]) == ("n01440764", "tench")
    assert (wnids[134], names[134], names[517]) == ("n02012849", "crane bird", "construction crane")
    assert {name for name in names if names.count(name) > 1} == {"missile", "sunglasses"}
    o_wnids, o_names = imagenet_o_classes()
    assert (len(set(o_wnids)), list(o_wnids)) == (200, sorted(o_wnids))
    assert o_names[0] == "goldfish"
    assert len(set(CIFAR10_CLASSES)) == 10
    assert list(CIFAR100_CLASSES) == sorted(set(CIFAR100_CLASSES))
    assert len(CIFAR100_CLASSES) == 100
