"""CIFAR-10 and CIFAR-100 in their binary distribution."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from longclip.data.collection import Collection, LabelSet
from longclip.data.layouts.file_collection import holding
from longclip.errors import DataError

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE


class CifarCollection(Collection):
    """Records of label bytes and 3 · 32 · 32 pixel bytes, channel by channel.

    Args:
        path: test_batch.bin (one label byte a record) or test.bin (coarse and fine label).
        name: of the collection and its label set.
        classes: names in the order of the labels.
        label_bytes: per record; the last of them is the label that counts.
    """

    def __init__(self, path: Path, name: str, *, classes: Sequence[str], label_bytes: int) -> None:
        self.name = name
        content = path.read_bytes()
        record = label_bytes + _PIXELS
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
        planes = self._pixels[index].reshape(3, _SIDE, _SIDE)
        return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))

    def key(self, index: int) -> str:
        """Return the hash of the pixels."""
        return hashlib.sha256(self._pixels[index].tobytes()).hexdigest()

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the one task."""
        return (self._labels,)


def open_cifar(root: Path, name: str, *, classes: Sequence[str], fine: bool) -> CifarCollection:
    """Return the test file of the binary distribution; `fine` for CIFAR-100.

    Raises:
        DataError: if there is none; also where only the Python distribution is there, which is
            a pickle: unpickling runs whatever code the file holds, so it is never read.
    """
    file, pickled = ("test.bin", "test") if fine else ("test_batch.bin", "test_batch")
    folder = holding(root, file)
    if folder is not None:
        return CifarCollection(folder / file, name, classes=classes, label_bytes=2 if fine else 1)
    number = 100 if fine else 10
    if holding(root, pickled) is not None:
        raise DataError(
            f"{root} holds the Python version of CIFAR-{number}, which is a pickle; opening one "
            "can run any code it holds, so longclip does not. Download the binary version, "
            f"cifar-{number}-binary.tar.gz, from https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    raise DataError(f"{root} holds no {file}, the test file of cifar-{number}-binary.tar.gz")
