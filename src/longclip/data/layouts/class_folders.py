"""One folder of pictures per class (ImageNet and its relatives)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from longclip.data.collection import LabelSet
from longclip.data.layouts.file_collection import FileCollection, count_of, image_files, listing
from longclip.errors import DataError


def open_class_folders(
    root: Path,
    name: str,
    *,
    class_of_folder: Mapping[str, int],
    classes: Sequence[str],
    places: Sequence[str] = (),
) -> FileCollection:
    """Pictures in folders whose names say their class.

    The folders are in `root`, or in one of `places` inside it. Images are in the order of class
    numbers, then of file names.
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
        *(count_of(strange, "folder is no class", "folders are no classes") if absent else ()),
        *count_of([classes[i] for i in absent], "class has no image", "classes have no image"),
    ]
    labels = LabelSet(name, tuple(classes), tuple(number for number, _ in found))
    return FileCollection(
        name, [image for _, image in found], label_sets=[labels], problems=problems
    )
