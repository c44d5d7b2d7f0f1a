"""Digest of a model: the hash of all that its embeddings depend on. No torch here.

Of weights that are in files, the digest is noted in the cache of the user: for a model of 600 MB it
takes a second, which is as much as all the rest of a search from the shell. A note is valid for the
files of the same path, size, inode and times of change. The time of the last change of the inode
(ctime) is set by the system alone, also where a program gives a file an old time of modification,
and no note is made of a file that has changed in the last seconds, when another change could have
the same time. So a changed file is known for one; what is not noticed is a defect of the disk.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from longclip.errors import UsageError
from longclip.image.preprocess import Preprocess
from longclip.model.config import CLIPConfig
from longclip.text.tokenizer_directory import TokenizerFiles
from longclip.util.files import cache_home, write_text
from longclip.util.kept_files import make_room, touch

OF_SIMILARITIES = ("logit_scale", "logit_bias")
"""Weights that no embedding depends on."""

_SETTLED_NS = 5_000_000_000
"""Age of a change from which on another one has another time, on every file system."""

_MAX_NOTES_BYTES = 1_000_000


def embedding_settings(
    config: CLIPConfig, preprocess: Preprocess, tokenizer: TokenizerFiles | None
) -> dict[str, Any]:
    """Return the settings that embeddings depend on; weights show which projections there are.

    Raises:
        CheckpointError: if the model's own tokenizer is missing or broken.
    """
    text, vision = config.text, config.vision
    settings: dict[str, Any] = {}
    if text:
        # What a text begins with its tokenizer says; what it is padded with need not be read.
        padded = text.reads_padding or text.pooling == "argmax"
        unread = {"bos_token_id", *(() if padded else ("pad_token_id",))}
        settings["text"] = {n: value for n, value in asdict(text).items() if n not in unread}
        if tokenizer:
            settings["tokenizer"] = tokenizer.tokenizer.digest
    if vision:
        settings |= {"vision": asdict(vision), "preprocess": asdict(preprocess)}
    return settings


def digest(
    settings: dict[str, Any], weights: Iterable[tuple[str, Sequence[int], Iterable[Any]]]
) -> str:
    """Return the SHA-256 of settings and weights, hexadecimal.

    Args:
        settings: see `embedding_settings`.
        weights: name and shape of each, sorted by name, and buffers of its numbers in bfloat16.
    """
    whole = hashlib.sha256(_canonical(settings))
    for name, shape, buffers in weights:
        if name not in OF_SIMILARITIES:
            whole.update(f"{name} {list(shape)}".encode())
            for buffer in buffers:
                whole.update(buffer)
    return whole.hexdigest()


def noted_digest(
    settings: dict[str, Any], files: Sequence[Path], compute: Callable[[], str]
) -> str:
    """Return the digest that was noted of these files with these settings, or compute and note it.

    Raises:
        OSError: if a file is not there.
    """
    states = [(str(file.resolve()), file.stat()) for file in files]
    known = [
        (path, stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
        for path, stat in states
    ]
    # Looked at now: while the digest is computed, a file that was replaced a moment ago grows old.
    newest = max(max(stat.st_mtime_ns, stat.st_ctime_ns) for _, stat in states)
    settled = time.time_ns() - newest > _SETTLED_NS
    key = hashlib.sha256(_canonical([settings, known])).hexdigest()
    try:
        note = cache_home() / "longclip" / "digests" / f"{key}.txt"
    except UsageError:  # a user without a home
        return compute()
    with suppress(OSError, UnicodeDecodeError):
        found = note.read_text(encoding="ascii").strip()
        if len(found) == 64:
            with suppress(OSError):  # somebody else's note
                touch(note)
            return found
    computed = compute()
    if settled:
        with suppress(OSError):  # a home that cannot be written to
            note.parent.mkdir(parents=True, exist_ok=True)
            make_room(note.parent, "*.txt", len(computed), _MAX_NOTES_BYTES)
            write_text(note, f"{computed}\n")
    return computed


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
