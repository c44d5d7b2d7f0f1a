"""Long descriptions in JSON files beside pictures: ShareGPT4V, DOCCI, DCI, ImageInWords."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from longclip.data.collection import Captions
from longclip.data.layouts.file_collection import (
    FileCollection,
    captioned,
    existing,
    field,
    first_of,
    holding,
    listing,
    read_json,
    read_jsonl,
    told_of,
)
from longclip.errors import DataError

SHAREGPT4V = "share-captioner_coco_lcs_sam_1246k_1107.json"
_CHUNK = 1 << 20
_LONGEST_ROW = 16 << 20


def open_sharegpt4v(root: Path, *, rows: int) -> FileCollection:
    """The first `rows` rows of the 1.2 million; the caption is the second turn.

    Line breaks become spaces, as in the published loader. Images are looked for beside the file
    and in `data`, under the relative path that each row gives.
    """
    folder = holding(root, SHAREGPT4V)
    if folder is None:
        raise DataError(f"{root} holds no {SHAREGPT4V}")
    path = folder / SHAREGPT4V
    pairs = []
    for row in first_rows(path, rows):
        turns = field(row, "conversations", path)
        if not isinstance(turns, list) or len(turns) < 2:
            raise DataError(f"{path}: a row has no second turn; is it the published file?")
        text = str(field(turns[1], "value", path)).replace("\n", " ")
        name = str(field(row, "image", path))
        image = folder / name
        if existing(image) is None and existing(folder / "data" / name):
            image = folder / "data" / name
        pairs.append((image, Captions(long=(text,))))
    return captioned(root.name, pairs)


def first_rows(path: Path, count: int) -> list[Any]:
    """The first items of a JSON array, without reading the rest of a file of 1.5 GB."""
    return list(islice(json_rows(path), count))


def json_rows(path: Path) -> Iterator[Any]:
    """The items of a JSON array one after the other, without the whole of it in memory."""
    decoder, number = json.JSONDecoder(), 0
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        text = file.read(_CHUNK).lstrip()
        if not text.startswith("["):
            raise DataError(f"{path} is not a JSON list; copy or download it again")
        at = 1
        while True:
            while at < len(text) and text[at] in ", \t\r\n":
                at += 1
            if text[at : at + 1] == "]":
                return
            try:
                row, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                # Either the row goes on in the next piece or it is damaged; no row is this long.
                more = file.read(_CHUNK) if len(text) - at < _LONGEST_ROW else ""
                if not more:
                    raise DataError(
                        f"{path} is damaged after row {number} ({error.msg}); "
                        "copy or download it again"
                    ) from None
                text, at = text[at:] + more, 0
                continue
            yield row
            number += 1


def open_docci(root: Path, *, split: str = "test") -> FileCollection:
    """The rows of one split of docci_descriptions.jsonlines, in the order of their file names."""
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
    return captioned(
        root.name, ((images / name, Captions(long=(rows[name],))) for name in sorted(rows))
    )


def open_dci(root: Path, *, extra_only: bool = False) -> FileCollection:
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
    named = [str(name) for names in splits.values() for name in names]
    files = {path.name: path for path in listing(folder / "annotations") if path.suffix == ".json"}
    problems = told_of(
        [name for name in named if name not in files],
        "annotation file is missing",
        "annotation files are missing",
    )
    rows = []
    for name in sorted(files) if extra_only else [name for name in named if name in files]:
        row = read_json(files[name])
        short, extra = (field(row, f"{key}_caption", files[name]) for key in ("short", "extra"))
        if extra_only and not extra:
            continue
        text = str(extra) if extra_only else f"{short}\n{extra}".strip()
        image = folder / "photos" / str(field(row, "image", files[name]))
        rows.append((image, Captions(long=(text,))))
    return captioned(root.name, rows, problems)


# Where the published annotations stand, and where their pictures: as LoTLIP's script sorts them,
# or as DOCCI and DCI unpack.
_IIW = {
    "DOCCI_Test": ("docci", "images"),
    "IIW-400": ("docci_aar", "images_aar"),
    "DCI_Test": ("dci", "densely_captioned_images/photos", "photos"),
}


def open_iiw(root: Path, *, parts: tuple[str, ...] = tuple(_IIW)) -> FileCollection:
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
            name = str(row.get("image") or field(row, "image/key", path))
            image = images / (name if name.lower().endswith(".jpg") else f"{name}.jpg")
            rows.append((_iiw_image(image), Captions(long=(str(field(row, "IIW", path)),))))
    return captioned(root.name, rows)


def _iiw_image(image: Path) -> Path:
    """Some of its DOCCI pictures are called test_… and were published as train_…."""
    other = image.with_name(image.name.replace("test", "train"))
    return other if existing(image) is None and existing(other) else image
