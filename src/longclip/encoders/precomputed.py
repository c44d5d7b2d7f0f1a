"""Embeddings that another program has computed, for models that no library here runs.

`longclip.evaluation.export_inputs` writes what an evaluation asks into a directory per collection:

    images.jsonl    {"key": …, "file": "images/000000.png"}, one picture a line
    texts.jsonl     {"text": …}, one text a line
    images/         the pictures, as an encoder here would be given them

The other program adds `images.npy` and `texts.npy`, one row per line, of any floating-point type.
Such directories, or a directory of them, are what `PrecomputedEncoder` reads.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import EncoderError
from longclip.util.regular_files import read_regular

_KEY_OF = {"images": "key", "texts": "text"}


class PrecomputedEncoder:
    """An encoder that knows the embeddings of some pictures and texts, and no others.

    Args:
        directory: a folder that `longclip.evaluation.export_inputs` wrote, with the arrays added,
            or one that holds such folders. Arrays are mapped, not read into memory.

    Raises:
        EncoderError: if arrays are missing, hold anything but floating-point [rows, D], or their
            rows are not as many as the lines of their list, or D is not the same everywhere.
    """

    context_length = None

    def __init__(self, directory: str | Path) -> None:
        root = Path(directory)
        self.name = f"npy:{directory}"
        folders = [path.parent for path in sorted(root.glob("images.jsonl"))]
        folders += [path.parent for path in sorted(root.glob("*/images.jsonl"))]
        if not folders:
            raise EncoderError(
                f"{self.name}: neither {root} nor a folder in it holds images.jsonl; write it "
                "with longclip.evaluation.export_inputs"
            )
        self.image_rows = _Rows(folders, "images")
        self.text_rows = _Rows(folders, "texts")
        widths = {*self.image_rows.widths, *self.text_rows.widths}
        if len(widths) != 1:
            raise EncoderError(
                f"{self.name}: rows are {' and '.join(map(str, sorted(widths)))} numbers wide; "
                "images and texts of all folders must have one width"
            )

    def encode_text(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Look texts up: float32 [N, D]; EncoderError where one is not there."""
        rows = [self.text_rows.get(text) for text in texts]
        missing = [text for text, row in zip(texts, rows, strict=True) if row is None]
        if missing:
            raise EncoderError(
                f"{self.name} has no embedding of {len(missing)} of {len(texts)} texts (first: "
                f"{missing[0]!r:.80}); export the inputs again with these texts and embed them"
            )
        return np.stack([row for row in rows if row is not None])

    def encode_image(self, images: Sequence[Image.Image], /) -> NDArray[np.float32]:
        """Raise EncoderError: known pictures are found by key, so only unknown ones come here."""
        raise EncoderError(
            f"{self.name} has no embeddings of pictures of this collection; export its inputs "
            "(again, if its pictures have changed) and embed them"
        )


_MAX_LIST_BYTES = 4_000_000_000
"""Size of the largest list of texts or images: a hundred bytes for each of 40 million."""


class _Rows:
    """Rows of the arrays of several folders, by the keys in their lists."""

    def __init__(self, folders: Sequence[Path], kind: str) -> None:
        self._arrays: list[NDArray[Any]] = []
        self._places: dict[str, tuple[int, int]] = {}
        for number, folder in enumerate(folders):
            path = folder / f"{kind}.jsonl"
            try:
                lines = [
                    json.loads(line) for line in read_regular(path, _MAX_LIST_BYTES).splitlines()
                ]
            except (OSError, ValueError, RecursionError) as error:
                raise EncoderError(
                    f"{path} cannot be read ({error}); export the inputs again"
                ) from error
            keys = [str(line[_KEY_OF[kind]]) for line in lines]
            array = _open_array(folder / f"{kind}.npy", len(keys))
            self._arrays.append(array)
            for row, key in enumerate(keys):
                self._places.setdefault(key, (number, row))
        self.widths = {array.shape[1] for array in self._arrays}

    def get(self, key: str) -> NDArray[np.float32] | None:
        """Return float32 [D], or None."""
        if key not in self._places:
            return None
        number, row = self._places[key]
        return np.asarray(self._arrays[number][row], dtype=np.float32)


def _open_array(path: Path, count: int) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise EncoderError(
            f"{path} is missing; write one row for each line of {path.with_suffix('.jsonl').name} "
            "with numpy.save"
        ) from None
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{path} cannot be read ({error}); write it with numpy.save, without objects"
        ) from error
    if array.ndim != 2 or array.dtype.kind != "f" or len(array) != count:
        raise EncoderError(
            f"{path} holds {array.dtype} {list(array.shape)}, and "
            f"{path.with_suffix('.jsonl').name} lists {count}: it must be floating-point "
            f"[{count}, D], rows in the order of the lines"
        )
    return array
