"""Image files with texts or labels, and how published folders are searched for them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import Collection, LabelSet
from longclip.data.names import IMAGE_SUFFIXES
from longclip.errors import DataError, ImageError
from longclip.image.decode import decode_image


class FileCollection(Collection):
    """Image files with texts, labels or both.

    Args:
        name: as reports show it.
        images: paths of the files.
        captions: of each image; empty where there are only labels.
        label_sets: tasks whose targets are in the order of the images.
        problems: sentences about what is not as published.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Path],
        captions: Sequence[Captions] = (),
        label_sets: Sequence[LabelSet] = (),
        problems: Iterable[str] = (),
    ) -> None:
        assert not captions or len(captions) == len(images)
        assert all(len(labels.targets) == len(images) for labels in label_sets)
        self.name = name
        self.problems = tuple(problems)
        self._images = images
        self._captions = captions
        self._label_sets = tuple(label_sets)

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> Image.Image:
        """Decode one file."""
        return decode_image(self._images[index])

    def image_file(self, index: int) -> bytes:
        """Return the bytes of one file."""
        path = self._images[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror}; check the path") from error

    def captions(self, index: int) -> Captions:
        """Return the texts of one image."""
        return self._captions[index] if self._captions else Captions()

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the one task of a labelled layout; none for captions."""
        return self._label_sets


def captioned(
    name: str, rows: Iterable[tuple[Path, Captions]], problems: Iterable[str] = ()
) -> FileCollection:
    """Return a collection of the rows with an image and a text; the others become problems."""
    images: list[Path] = []
    captions: list[Captions] = []
    missing: list[str] = []
    without_text: list[str] = []
    for path, texts in rows:
        file = existing(path)
        if file is None:
            missing.append(path.name)
        elif not any(text.strip() for text in (*texts.short, *texts.long)):
            without_text.append(path.name)
        else:
            images.append(file)
            captions.append(texts)
    lines = [
        *problems,
        *count_of(missing, "image is missing", "images are missing"),
        *count_of(without_text, "image has an empty caption", "images have empty captions"),
    ]
    return FileCollection(name, images, captions, problems=lines)


def existing(path: Path) -> Path | None:
    """Return the file, whatever the case of its extension; None where there is none."""
    for suffix in (path.suffix, path.suffix.lower(), path.suffix.upper()):
        candidate = path.with_suffix(suffix)
        if candidate.is_file():
            return candidate
    return None


def count_of(names: Sequence[str], one: str, several: str) -> list[str]:
    """Return one line such as `3 images are missing (a.jpg, b.jpg, …)`; none without names."""
    if not names:
        return []
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return [f"{len(names):,} {one if len(names) == 1 else several} ({shown})"]


def listing(folder: Path) -> list[Path]:
    """List a folder, sorted by name; hidden files (.DS_Store, ._1.jpg) are left out."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}; check the path") from None
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def image_files(folder: Path) -> list[Path]:
    """Return the pictures in a folder by their extension, in any case, sorted by name."""
    return [path for path in listing(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def holding(root: Path, *names: str) -> Path | None:
    """Return `root`, or a folder in it, that holds all these files or folders; None without one.

    Archives unpack into a folder of their own as often as not.
    """
    inside = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in (root, *inside):
        if all((folder / name).exists() for name in names):
            return folder
    return None


def folder_with(root: Path, *names: str, missing: str = "") -> Path:
    """Return the folder that holds all these, as `holding` finds it.

    Raises:
        DataError: if there is none; it says that there is no `missing`, or else no such names.
    """
    folder = holding(root, *names)
    if folder is None:
        raise DataError(f"{root} holds no {missing or ', '.join(names)}")
    return folder


def first_of(root: Path, names: Sequence[str], what: str) -> Path:
    """Return the first usual place that exists; raise DataError naming all if none does."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise DataError(f"{root} holds no {what}: looked for {', '.join(names)}")


def field(row: Any, key: str, path: Path) -> Any:
    """Return one field of a row; raise DataError naming the file where it is absent."""
    if not isinstance(row, dict) or key not in row:
        raise DataError(f"{path}: a row has no {key!r}; is it the published file?")
    return row[key]
