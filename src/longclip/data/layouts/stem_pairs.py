"""A folder of pictures and a folder of text files, paired by file stem (Urban-1k)."""

from pathlib import Path

from longclip.data.captions import Captions
from longclip.data.json_files import read_text
from longclip.data.layouts.file_collection import (
    FileCollection,
    captioned,
    count_of,
    holding,
    image_files,
    listing,
)
from longclip.errors import DataError


def open_stem_pairs(root: Path, name: str, *, first_line: bool = False) -> FileCollection:
    """`image/STEM.jpg` with `caption/STEM.txt`, in the order of the stems.

    Pairs are made by stem, never by the order that a file system lists its files in. The caption
    is the whole file, or its first line where `first_line`, as the script that came with the
    data reads it.
    """
    folder = holding(root, "image", "caption")
    if folder is None:
        raise DataError(f"{root} holds no folders `image` and `caption`, side by side")
    images = {path.stem: path for path in image_files(folder / "image")}
    texts = {p.stem: p for p in listing(folder / "caption") if p.suffix.lower() == ".txt"}
    problems = [
        *count_of(sorted(images.keys() - texts), "image has no caption file", "images have none"),
        *count_of(sorted(texts.keys() - images), "caption file has no image", "captions have none"),
    ]
    rows = [
        (images[stem], Captions(long=(_caption(texts[stem], first_line),)))
        for stem in sorted(images.keys() & texts)
    ]
    return captioned(name, rows, problems)


def _caption(path: Path, first_line: bool) -> str:
    text = read_text(path)
    return (text.split("\n", 1)[0] if first_line else text).strip()
