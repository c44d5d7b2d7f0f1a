"""Benchmark: a data set with its protocol, the data as opened, and a digest of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longclip.data.collection import Collection
from longclip.data.layouts.benchmark_table import TableCollection, parquet_files
from longclip.errors import ImageError
from longclip.spec import Task
from longclip.util.digest import Digest

Reader = Callable[[Path, str], Collection]
"""Opens the data at a path as a collection of a name."""


@dataclass(frozen=True)
class Benchmark:
    """A data set with everything that a number measured on it depends on, besides the model."""

    name: str
    title: str
    task: Task
    """Retrieval with one long text an image, or with short captions; classification; or choice."""
    images: int
    """0 for choice, where questions are counted."""
    texts: int
    """0 for classification and choice."""
    classes: int
    """0 but for classification."""
    protocol: str
    """Which images, how they are paired, which caption is taken, which prompts are asked."""
    source: str
    licence: str
    gigabytes: float | None
    """Size of the download; None where it could not be looked up."""
    get: str
    """Files to download, and from whom; the first sentence stands alone."""
    layout: str
    """Files in the folder."""
    folders: tuple[str, ...]
    """Names the folder may have below the root of all data; the first is where we put it."""
    open: Reader = field(repr=False)
    marker: str = ""
    """A file that shows that the root itself is the folder."""
    hub: str = ""
    """owner/name on the Hugging Face hub, where its files are there in a form we read."""
    hub_files: tuple[str, ...] = ()
    """Patterns of the files to fetch from there; all of them where empty."""
    questions: int = 0
    """Of choice alone."""
    exact: bool = True
    """False where only a round count is published: it is then reported, not checked, but for
    questions, 95 % of which must be there."""

    @property
    def size(self) -> str:
        """Return the size of the download in words."""
        if self.gigabytes is None:
            return "see the data set's page"
        return f"{self.gigabytes:g} GB"

    def to_json(self) -> dict[str, Any]:
        words = {key: value for key, value in vars(self).items() if key != "open"}
        return {**words, "folders": list(self.folders), "hub_files": list(self.hub_files)}


@dataclass(frozen=True)
class OpenedBenchmark:
    """The data of a benchmark. Where `partial`, `problems` say what is not as published."""

    benchmark: Benchmark
    collection: Collection
    partial: bool
    problems: tuple[str, ...]
    path: Path


def or_parquet(
    reader: Reader, table: Callable[[list[Path], str], TableCollection], *, split: str = "test"
) -> Reader:
    """Return a reader: `table` where there are Parquet files, else `reader`."""

    def open_either(path: Path, name: str) -> Collection:
        files = parquet_files(path, split)
        return table(files, name) if files else reader(path, name)

    return open_either


def data_digest(collection: Collection, contents: Counter[str] | None = None) -> str:
    """Return the SHA-256 of every image's content, its texts, the labels and questions, in order.

    Two results with the same digest were measured on the same data, wherever the files lay
    and whatever they were called. Every file is read once; nothing is decoded.

    Args:
        collection: the data.
        contents: counts the images by their content, for whoever looks for copies.
    """
    digest = Digest()
    for index in range(len(collection)):
        try:
            key = collection.key(index)
        except ImageError:
            key = "unreadable"
        else:
            if contents is not None:
                contents[key] += 1
        texts = collection.captions(index)
        digest.add("image", key, "short", *texts.short, "long", *texts.long)
    for choices in collection.choice_sets():
        digest.add("choices", choices.rule)
        for choice in choices.choices:
            digest.add(choice.category, *map(str, choice.images), *choice.texts)
    for labels in collection.label_sets():
        digest.add("labels", *labels.classes, "templates", *labels.templates)
        for target in labels.targets:
            digest.add_bytes(target.to_bytes(8, "big"))
    return digest.hexdigest()
