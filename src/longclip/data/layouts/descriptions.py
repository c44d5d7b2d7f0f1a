"""Long descriptions in JSON files beside pictures: ShareGPT4V, DOCCI, DCI, ImageInWords."""

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
    holding,
    listing,
)
from longclip.data.sharegpt4v import SHAREGPT4V, picture_and_text, picture_folders
from longclip.errors import DataError


def open_sharegpt4v(root: Path, name: str, *, rows: int) -> FileCollection:
    """Return the first `rows` rows of the 1.2 million, read as `longclip.data.sharegpt4v` does."""
    folder = holding(root, SHAREGPT4V)
    if folder is None:
        raise DataError(f"{root} holds no {SHAREGPT4V}")
    path = folder / SHAREGPT4V
    folders = picture_folders(path)
    pairs = []
    # The rest of a file of 1.5 GB is not read.
    for row in islice(json_rows(path), rows):
        field(row, "conversations", path)
        file, text = picture_and_text(row)
        if text is None or file is None:
            lacking = "second turn" if text is None else "'image'"
            raise DataError(f"{path}: a row has no {lacking}; is it the published file?")
        places = [folder / file for folder in folders]
        image = next((place for place in places if existing(place)), places[0])
        pairs.append((image, Captions(long=(text,))))
    return captioned(name, pairs)


def open_docci(root: Path, name: str, *, split: str = "test") -> FileCollection:
    """Return the rows of one split of docci_descriptions.jsonlines, by file name."""
    folder = holding(root, "docci_descriptions.jsonlines")
    if folder is None:
        raise DataError(f"{root} holds no docci_descriptions.jsonlines")
    path = folder / "docci_descriptions.jsonlines"
    images = first_of(folder, ("images", "test_images"), "folder of pictures")
    rows = {
        str(field(row, "image_file", path)): str(field(row, "description", path))
        for row in read_jsonl(path)
        if field(row, "split", path) == split
    }
    return captioned(name, ((images / file, Captions(long=(rows[file],))) for file in sorted(rows)))


def open_dci(root: Path, name: str, *, extra_only: bool = False) -> FileCollection:
    """Densely Captioned Images: splits.json, annotations/*.json and photos/*.jpg.

    The text is the short caption, a line break and the extra caption of every image that
    splits.json names in any split. With `extra_only` it is the extra caption alone, of all
    annotation files that have one, in the order of their names.
    """
    folder = holding(root, "annotations", "photos", "splits.json")
    if folder is None:
        raise DataError(f"{root} holds no splits.json beside annotations/ and photos/")
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
    """ImageInWords: PART/data.jsonl with the description `IIW`, pictures in a folder per part."""
    folder = holding(root, parts[-1]) or holding(root, parts[-1].upper())
    if folder is None:
        raise DataError(f"{root} holds no {parts[-1]}/data.jsonl")
    rows = []
    for part in parts:
        # The published repository has had both spellings.
        places = (f"{part}/data.jsonl", f"{part.upper()}/data.jsonl")
        path = first_of(folder, places, f"annotations of {part}")
        images = first_of(folder, _IIW[part], f"pictures of {part}")
        for row in read_jsonl(path):
            file = str(row.get("image") or field(row, "image/key", path))
            image = images / (file if file.lower().endswith(".jpg") else f"{file}.jpg")
            rows.append((_iiw_image(image), Captions(long=(str(field(row, "IIW", path)),))))
    return captioned(name, rows)


def _iiw_image(image: Path) -> Path:
    """Some of its DOCCI pictures are called test_… and were published as train_…."""
    other = image.with_name(image.name.replace("test", "train"))
    return other if existing(image) is None and existing(other) else image
