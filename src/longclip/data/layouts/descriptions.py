"""Long descriptions beside pictures: ShareGPT4V, Urban-1k, DOCCI, DCI, ImageInWords."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from longclip.data.captions import Captions
from longclip.data.json_files import json_rows, read_json, read_jsonl
from longclip.data.layouts.file_collection import (
    FileCollection,
    captioned,
    count_of,
    existing,
    field,
    first_of,
    folder_with,
    holding,
    image_files,
    listing,
)
from longclip.data.tables.columns import Columns
from longclip.data.tables.open import open_rows, table_name
from longclip.data.tables.rows import picture_and_description
from longclip.data.tables.table import Table
from longclip.data.text_files import read_text
from longclip.errors import DataError

SHAREGPT4V = "share-captioner_coco_lcs_sam_1246k_1107.json"
"""Name of the published file of ShareGPT4V."""

HELD_OUT_ROWS = 1000
"""Number of the first rows of that file which are its test, ShareGPT4V-1k (Long-CLIP, 4.1)."""


def open_conversations(
    path: Path,
    columns: Columns,
    images: Sequence[Path] = (),
    *,
    split: str,
    texts_only: bool = False,
) -> Table:
    """Open ShareGPT4V's or another JSON list of {id, image, conversations} for training.

    Rows whose picture is in none of `images`, nor beside the file, nor in `data` there, are left
    out and counted.

    Args:
        path: of the published file, or another such list.
        columns: which mean what, beside `long`, which is the second turn.
        split: of the published file, `test` for its first 1,000 rows, else the others; of another
            list all rows are used.
        images: folders that the paths in the rows start from.

    Raises:
        DataError: if it is no such list.
    """
    rows = open_rows(path)
    if path.name == SHAREGPT4V:
        part = range(HELD_OUT_ROWS) if split == "test" else range(HELD_OUT_ROWS, len(rows))
        rows = rows.select(part[: len(rows)])
    beside, inside = _picture_folders(path)
    images = (*images, beside, inside)
    return Table(table_name(path), rows, beside, columns, images=images, texts_only=texts_only)


def open_sharegpt4v(root: Path, name: str, *, rows: int) -> FileCollection:
    """Open the first `rows` rows of ShareGPT4V's 1.2 million, whose pictures must be there."""
    path = folder_with(root, SHAREGPT4V) / SHAREGPT4V
    folders = _picture_folders(path)
    pairs = []
    # The rest of a file of 1.5 GB is not read.
    for row in islice(json_rows(path), rows):
        field(row, "conversations", path)
        file, text = picture_and_description(row)
        if text is None or not isinstance(file, str):
            lacking = "second turn" if text is None else "'image'"
            raise DataError(f"{path}: a row has no {lacking}; is it the published file?")
        places = [folder / file for folder in folders]
        image = next((place for place in places if existing(place)), places[0])
        pairs.append((image, Captions(long=(text,))))
    return captioned(name, pairs)


def _picture_folders(path: Path) -> tuple[Path, Path]:
    """Return the folders that paths of pictures start from: beside the file, and `data` there."""
    return path.parent, path.parent / "data"


def open_stem_pairs(root: Path, name: str, *, first_line: bool = False) -> FileCollection:
    """Open `image/STEM.jpg` with `caption/STEM.txt` (Urban-1k), in the order of the stems.

    Pairs are made by stem, never by the order that a file system lists its files in. The caption
    is the whole file, or its first line where `first_line`, as the script that came with the
    data reads it.
    """
    missing = "folders `image` and `caption`, side by side"
    folder = folder_with(root, "image", "caption", missing=missing)
    images = {path.stem: path for path in image_files(folder / "image")}
    texts = {p.stem: p for p in listing(folder / "caption") if p.suffix.lower() == ".txt"}
    problems = [
        *count_of(sorted(images.keys() - texts), "image has no caption file", "images have none"),
        *count_of(sorted(texts.keys() - images), "caption file has no image", "captions have none"),
    ]
    rows = []
    for stem in sorted(images.keys() & texts):
        text = read_text(texts[stem])
        text = text.split("\n", 1)[0] if first_line else text
        rows.append((images[stem], Captions(long=(text.strip(),))))
    return captioned(name, rows, problems)


def open_docci(root: Path, name: str, *, split: str = "test") -> FileCollection:
    """Open the rows of one split of docci_descriptions.jsonlines, by file name."""
    path = folder_with(root, "docci_descriptions.jsonlines") / "docci_descriptions.jsonlines"
    images = first_of(path.parent, ("images", "test_images"), "folder of pictures")
    rows = {
        str(field(row, "image_file", path)): str(field(row, "description", path))
        for row in read_jsonl(path)
        if field(row, "split", path) == split
    }
    return captioned(name, ((images / file, Captions(long=(rows[file],))) for file in sorted(rows)))


def open_dci(root: Path, name: str, *, extra_only: bool = False) -> FileCollection:
    """Open Densely Captioned Images: splits.json, annotations/*.json and photos/*.jpg.

    The text is the short caption, a line break and the extra caption of every image that
    splits.json names in any split. With `extra_only` it is the extra caption alone, of all
    annotation files that have one, in the order of their names.
    """
    missing = "splits.json beside annotations/ and photos/"
    folder = folder_with(root, "annotations", "photos", "splits.json", missing=missing)
    splits = read_json(folder / "splits.json")
    if not isinstance(splits, dict):
        raise DataError(f"{folder / 'splits.json'} holds no splits; is it the published file?")
    named = [str(file) for part in splits.values() for file in part]
    files = {path.name: path for path in listing(folder / "annotations") if path.suffix == ".json"}
    problems = count_of(
        [file for file in named if file not in files],
        "annotation file is missing",
        "annotation files are missing",
    )
    rows = []
    for file in sorted(files) if extra_only else [file for file in named if file in files]:
        row = read_json(files[file])
        short, extra = (field(row, f"{key}_caption", files[file]) for key in ("short", "extra"))
        if extra_only and not extra:
            continue
        text = str(extra) if extra_only else f"{short}\n{extra}".strip()
        image = folder / "photos" / str(field(row, "image", files[file]))
        rows.append((image, Captions(long=(text,))))
    return captioned(name, rows, problems)


# Where the published annotations stand, and where their pictures: as LoTLIP's script sorts them,
# or as DOCCI and DCI unpack.
_IIW = {
    "DOCCI_Test": ("docci", "images"),
    "IIW-400": ("docci_aar", "images_aar"),
    "DCI_Test": ("dci", "densely_captioned_images/photos", "photos"),
}


def open_iiw(root: Path, name: str, *, parts: tuple[str, ...] = tuple(_IIW)) -> FileCollection:
    """Open ImageInWords: PART/data.jsonl with descriptions `IIW`, and a folder of pictures each."""
    last = parts[-1]
    folder = holding(root, last.upper()) or folder_with(root, last, missing=f"{last}/data.jsonl")
    rows = []
    for part in parts:
        # The published repository has had both spellings.
        places = (f"{part}/data.jsonl", f"{part.upper()}/data.jsonl")
        path = first_of(folder, places, f"annotations of {part}")
        images = first_of(folder, _IIW[part], f"pictures of {part}")
        for row in read_jsonl(path):
            file = str(row.get("image") or field(row, "image/key", path))
            image = images / (file if file.lower().endswith(".jpg") else f"{file}.jpg")
            # Some of its DOCCI pictures are called test_… and were published as train_….
            other = image.with_name(image.name.replace("test", "train"))
            if existing(image) is None and existing(other):
                image = other
            rows.append((image, Captions(long=(str(field(row, "IIW", path)),))))
    return captioned(name, rows)
