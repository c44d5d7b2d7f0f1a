"""Five short captions an image: COCO, Karpathy's splits, Flickr8k and Flickr30k."""

import csv
import io
import json
from pathlib import Path

from longclip.data.captions import Captions
from longclip.data.json_files import read_json
from longclip.data.layouts.file_collection import (
    FileCollection,
    captioned,
    count_of,
    field,
    first_of,
    folder_with,
)
from longclip.data.text_files import read_text
from longclip.errors import DataError

FLICKR8K_FOLDERS = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images", "images")
FLICKR30K_FOLDERS = ("flickr30k-images", "flickr30k_images", "Images", "images")


def open_coco(root: Path, name: str, *, per_image: int = 5) -> FileCollection:
    """Open annotations/captions_val2017.json and val2017/, images in the order of their ids.

    The captions are the first `per_image` in the order of the file, which is what pycocotools
    returns and so what clip_benchmark and the Long-CLIP script take.
    """
    annotations = "annotations/captions_val2017.json"
    folder = folder_with(root, annotations, "val2017", missing=f"val2017/ beside {annotations}")
    path = folder / annotations
    content = read_json(path)
    images = {
        int(field(image, "id", path)): str(field(image, "file_name", path))
        for image in field(content, "images", path)
    }
    texts: dict[int, list[str]] = {number: [] for number in images}
    for row in field(content, "annotations", path):
        owner = texts.get(int(field(row, "image_id", path)))
        if owner is not None:
            owner.append(str(field(row, "caption", path)))
    rows = [(folder / "val2017" / images[i], texts[i]) for i in sorted(images)]
    return _several(name, rows, per_image)


def open_karpathy(
    root: Path,
    name: str,
    *,
    file: str,
    folders: tuple[str, ...],
    split: str = "test",
    per_image: int = 5,
) -> FileCollection:
    """Open one split of Karpathy's dataset_*.json, in the order of the file."""
    path = folder_with(root, file) / file
    rows = []
    for image in field(read_json(path), "images", path):
        if field(image, "split", path) != split:
            continue
        # Only COCO's rows name their folder, as val2014 has pictures of three splits.
        if "filepath" in image:
            place = path.parent / image["filepath"]
        else:
            place = first_of(path.parent, folders, "folder of pictures")
        texts = [str(field(sentence, "raw", path)) for sentence in field(image, "sentences", path)]
        rows.append((place / str(field(image, "filename", path)), texts))
    return _several(name, rows, per_image)


def open_flickr30k_table(
    root: Path, name: str, *, split: str = "test", per_image: int = 5
) -> FileCollection:
    """Open one split of flickr_annotations_30k.csv, the hub's copy of Karpathy's file."""
    path = folder_with(root, "flickr_annotations_30k.csv") / "flickr_annotations_30k.csv"
    images = first_of(path.parent, FLICKR30K_FOLDERS, "folder of pictures")
    rows = []
    for row in csv.DictReader(io.StringIO(read_text(path), newline="")):
        if field(row, "split", path) == split:
            try:
                texts = [str(text) for text in json.loads(field(row, "raw", path))]
            except (json.JSONDecodeError, TypeError) as error:
                raise DataError(f"{path} is damaged ({error}); download it again") from None
            rows.append((images / str(field(row, "filename", path)), texts))
    return _several(name, rows, per_image)


def open_flickr_tokens(
    root: Path,
    name: str,
    *,
    token_file: str,
    folders: tuple[str, ...],
    names_file: str | None = None,
    per_image: int = 5,
) -> FileCollection:
    """Open a file of lines `name.jpg#0<TAB>caption`: all images, or those in `names_file`."""
    folder = folder_with(root, token_file)
    path = folder / token_file
    texts: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        place, tab, text = line.partition("\t")
        file, mark, order = place.rpartition("#")
        if not (tab and mark and order.isdigit()):
            raise DataError(f"{path}, line {number}: not `name.jpg#0<TAB>caption`")
        texts.setdefault(file, []).append((int(order), text.strip()))
    files = list(texts)
    if names_file is not None:
        chosen = first_of(folder, (names_file,), "list of the split's images")
        files = [line.strip() for line in read_text(chosen).split("\n") if line.strip()]
    images = first_of(folder, folders, "folder of pictures")
    rows = [(images / file, [text for _, text in sorted(texts.get(file, []))]) for file in files]
    return _several(name, rows, per_image)


def _several(name: str, rows: list[tuple[Path, list[str]]], per_image: int) -> FileCollection:
    """Return the images with their first `per_image` captions; fewer are a problem."""
    problems = count_of(
        [path.name for path, texts in rows if len(texts) < per_image],
        f"image has fewer than {per_image} captions",
        f"images have fewer than {per_image} captions",
    )
    pairs = ((path, Captions(short=tuple(texts[:per_image]))) for path, texts in rows)
    return captioned(name, pairs, problems)
