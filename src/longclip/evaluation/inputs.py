"""The inputs of an evaluation, written for another program to embed.

What it adds, `longclip.encoders.precomputed` reads; how the files look is said there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longclip.data.collection import Collection
from longclip.errors import ImageError
from longclip.evaluation.ranking import long_texts, short_texts
from longclip.evaluation.zero_shot import IMAGENET_TEMPLATES
from longclip.util.files import write_text


@dataclass(frozen=True)
class ExportedInputs:
    """Directory and numbers of what was written; `bad` has the reason for each picture left out."""

    directory: Path
    images: int
    texts: int
    bad: tuple[str, ...]


def export_inputs(
    collection: Collection, directory: str | Path, *, texts: Sequence[str] = ()
) -> ExportedInputs:
    """Write the pictures and texts of a collection for another program to embed.

    The texts are all that an evaluation compares: short and long texts, the prompts of its label
    sets, and the candidates of its questions. A text that is needed several times is listed once.

    Args:
        collection: what will be evaluated.
        directory: where; a folder named after the collection is made in it.
        texts: more of them, for evaluations that change texts.

    Raises:
        FileExistsError: if that folder is there: it may hold arrays that took long to compute.
    """
    folder = Path(directory) / collection.name.replace("/", "-")
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists, perhaps with arrays, and is not overwritten; remove it or name "
            "another directory"
        )
    (folder / "images").mkdir(parents=True)
    pictures, bad = [], []
    for index in range(len(collection)):
        file = f"images/{index:06d}.png"
        try:
            key = collection.key(index)
            collection.image(index).save(folder / file, compress_level=1)
        except ImageError as error:
            bad.append(str(error))
        else:
            pictures.append({"key": key, "file": file})
    captions = [collection.captions(index) for index in range(len(collection))]
    wanted = [text for own in captions for text in (*long_texts(own), *short_texts(own))]
    for labels in collection.label_sets():
        templates = labels.templates or IMAGENET_TEMPLATES
        wanted += [t.replace("{}", name) for name in labels.classes for t in templates]
    for choices in collection.choice_sets():
        wanted += [text for choice in choices.choices for text in choice.texts]
    listed = list(dict.fromkeys([*wanted, *texts]))
    _write_lines(folder / "images.jsonl", pictures)
    _write_lines(folder / "texts.jsonl", [{"text": text} for text in listed])
    return ExportedInputs(folder, len(pictures), len(listed), tuple(bad))


def _write_lines(path: Path, lines: Sequence[dict[str, str]]) -> None:
    # Escaped as ASCII, a line is a line to every program, whatever it takes for a line's end.
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
