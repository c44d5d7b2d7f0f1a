"""Files below a folder, for training and search alike: regular ones, each folder once."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from longclip.util.regular_files import no_file_reason


class FoundFile(NamedTuple):
    """A regular file, or a link to one.

    Attributes:
        name: without its folder.
        path: with it.
        about: facts of the file itself.
    """

    name: str
    path: str
    about: os.stat_result


class LeftOut(NamedTuple):
    """What is in a folder and is no file.

    Attributes:
        path: of the link, pipe or device; of a folder it ends with a slash.
        reason: what it is.
        is_link: whether it is no folder that cannot be read.
    """

    path: str
    reason: str
    is_link: bool = True


class FolderContent(NamedTuple):
    """One folder of a tree.

    Attributes:
        path: of the folder.
        files: those that are wanted.
        others: names of all else that is no folder.
        left_out: what is no file: links that lead nowhere, pipes, devices.
    """

    path: str
    files: list[FoundFile]
    others: list[str]
    left_out: list[LeftOut]


def walk(
    root: str | Path, is_wanted: Callable[[str], bool], without: str | Path | None = None
) -> Iterator[FolderContent]:
    """Yield a folder and those in it, also behind links, each once; nothing hidden.

    Args:
        root: where to start.
        is_wanted: tells by its name whether a file is wanted; only those are looked at.
        without: a folder that is left out.

    Raises:
        OSError: if the root cannot be read; folders in it are then left out.
    """
    waiting = [str(root)]
    seen = set() if without is None else {_identity(without)}
    while waiting:
        folder = waiting.pop()
        content = FolderContent(folder, [], [], [])
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            if reason := no_file_reason(about):
                raise OSError(None, f"no folder of files but {reason}")
            with os.scandir(folder) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if folder == str(root):
                raise
            is_link = error.errno is None
            content.left_out.append(LeftOut(f"{folder}/", error.strerror or str(error), is_link))
            yield content
            continue
        for entry in shown:
            if _is_folder(entry):
                waiting.append(entry.path)
                continue
            try:
                if not is_wanted(entry.name):
                    content.others.append(entry.name)
                    # One that leads nowhere: maybe to a folder on a disk that is not connected.
                    if entry.is_symlink():
                        entry.stat()
                    continue
                about = entry.stat()
            except OSError as error:
                path = entry.path if is_wanted(entry.name) else f"{entry.path}/"
                content.left_out.append(
                    LeftOut(path, f"a link that cannot be followed ({error.strerror})")
                )
                continue
            reason = no_file_reason(about)
            if reason or not stat.S_ISREG(about.st_mode):
                content.left_out.append(LeftOut(entry.path, f"no file but {reason}"))
            else:
                content.files.append(FoundFile(entry.name, entry.path, about))
        yield content


def _identity(folder: str | Path) -> tuple[int, int] | None:
    """Return device and inode, the same by whichever path a folder is reached."""
    try:
        about = os.stat(folder)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links, for example
        return False
