"""Labelled images: one folder per class (ImageNet and its relatives), CIFAR's binary records."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from longclip.data.collection import Collection, LabelSet
from longclip.data.layouts.file_collection import (
    FileCollection,
    count_of,
    folder_with,
    holding,
    image_files,
    listing,
)
from longclip.errors import DataError

_CIFAR_SIDE = 32
_CIFAR_PIXEL_BYTES = 3 * _CIFAR_SIDE * _CIFAR_SIDE


def open_class_folders(
    root: Path,
    name: str,
    *,
    class_of_folder: Mapping[str, int],
    classes: Sequence[str],
    places: Sequence[str] = (),
) -> FileCollection:
    """Open pictures in folders whose names say their class.

    The folders are in `root`, or in one of `places` inside it. Images are in the order of class
    numbers, then of file names.

    Raises:
        DataError: if no folder is called after a class.
    """
    for place in (root, *(root / place for place in places)):
        folders = [path for path in listing(place) if path.is_dir()] if place.is_dir() else []
        known = sorted(
            (class_of_folder[path.name], path) for path in folders if path.name in class_of_folder
        )
        if known:
            break
    else:
        raise DataError(
            f"{root} holds no folders called after the classes, such as "
            f"{', '.join(list(class_of_folder)[:3])}; sort the pictures into such folders"
        )
    strange = [path.name for path in folders if path.name not in class_of_folder]
    found = [(number, image) for number, folder in known for image in image_files(folder)]
    absent = sorted(set(range(len(classes))) - {number for number, _ in found})
    problems = [
        # Where all classes are there, a folder beside them (__MACOSX …) takes nothing away.
        *(count_of(strange, "folder is no class", "folders are no classes") if absent else ()),
        *count_of([classes[i] for i in absent], "class has no image", "classes have no image"),
    ]
    labels = LabelSet(name, tuple(classes), tuple(number for number, _ in found))
    return FileCollection(
        name, [image for _, image in found], label_sets=[labels], problems=problems
    )


class CifarCollection(Collection):
    """Records of label bytes and 3 · 32 · 32 pixel bytes, channel by channel.

    Args:
        path: test_batch.bin (one label byte a record) or test.bin (coarse and fine label).
        name: of the collection and its label set.
        classes: names in the order of the labels.
        label_bytes: per record; the last of them is the label that counts.

    Raises:
        DataError: if the file is cut off, or of the other CIFAR.
    """

    def __init__(self, path: Path, name: str, *, classes: Sequence[str], label_bytes: int) -> None:
        self.name = name
        content = path.read_bytes()
        record = label_bytes + _CIFAR_PIXEL_BYTES
        if not content or len(content) % record:
            raise DataError(
                f"{path}: {len(content):,} bytes are no whole number of records of {record:,}; "
                "it is cut off, or of the other CIFAR: download it again"
            )
        rows = np.frombuffer(content, np.uint8).reshape(-1, record)
        self._pixels, targets = rows[:, label_bytes:], rows[:, label_bytes - 1]
        if int(targets.max()) >= len(classes):
            raise DataError(
                f"{path}: a label is {targets.max()}, and there are {len(classes)} classes; "
                "is it the other CIFAR?"
            )
        self._labels = LabelSet(name, tuple(classes), tuple(targets.tolist()))

    def __len__(self) -> int:
        return len(self._pixels)

    def image(self, index: int) -> Image.Image:
        """Return one picture of 32 x 32 pixels."""
        planes = self._pixels[index].reshape(3, _CIFAR_SIDE, _CIFAR_SIDE)
        return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))

    def key(self, index: int) -> str:
        """Return the SHA-256 of the pixels."""
        return hashlib.sha256(self._pixels[index].tobytes()).hexdigest()

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the one task."""
        return (self._labels,)


def open_cifar(root: Path, name: str, *, classes: Sequence[str], fine: bool) -> CifarCollection:
    """Open the test file of the binary distribution; `fine` for CIFAR-100.

    Raises:
        DataError: if there is none; also where only the Python distribution is there, which is
            a pickle: unpickling runs whatever code the file holds, so it is never read.
    """
    number, file, pickled = (
        (100, "test.bin", "test") if fine else (10, "test_batch.bin", "test_batch")
    )
    archive = f"cifar-{number}-binary.tar.gz"
    if holding(root, file) is None and holding(root, pickled) is not None:
        raise DataError(
            f"{root} holds the Python version of CIFAR-{number}, which is a pickle; opening one "
            "can run any code it holds, so longclip does not. Download the binary version, "
            f"{archive}, from https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    folder = folder_with(root, file, missing=f"{file}, the test file of {archive}")
    return CifarCollection(folder / file, name, classes=classes, label_bytes=2 if fine else 1)
