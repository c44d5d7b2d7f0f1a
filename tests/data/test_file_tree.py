"""Files below a folder: what is no regular file is named and never opened."""

import os
import socket
from pathlib import Path

import pytest

from longclip.data import open_training_data
from longclip.data.file_tree import walk
from longclip.errors import ImageError
from longclip.image.decode import decode_image
from longclip.util.regular_files import open_regular
from tests.helpers.image_folders import photos


def special_files(folder: Path) -> list[str]:
    """Make what is in folders and is no file, and return the names."""
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "0000.txt")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "nowhere.jpg").symlink_to(folder / "gone")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    names = ["0000.txt", "circle.jpg", "device.jpg", "nowhere.jpg", "pipe.jpg"]
    if Path("/proc/kmsg").exists():
        (folder / "system").symlink_to("/proc")
        (folder / "kernel.jpg").symlink_to("/proc/kmsg")
        names += ["kernel.jpg", "system"]
    return sorted(names)


def test_only_regular_files_are_files(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 2)
    (folder / "notes.doc").touch()
    names = special_files(folder)
    [found] = [
        each for each in walk(folder, lambda name: name[-4:] in (".jpg", ".txt")) if each.files
    ]
    assert sorted(file.name for file in found.files) == ["0000.jpg", "0001.jpg"]
    assert found.others == ["notes.doc"]
    left_out = [each for content in walk(folder, lambda _: True) for each in content.left_out]
    assert sorted(Path(each.path).name for each in left_out) == names
    assert all(each.reason and each.is_link for each in left_out)


def test_training_on_a_folder_leaves_them_out(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 2)
    (folder / "0001.txt").write_text("A boat.")
    names = special_files(folder)
    data = open_training_data([folder])
    assert ("A boat.",) in [data.captions(i).short for i in range(len(data))]
    [line] = [line for line in data.problems if "no files" in line]
    assert line.startswith(f"{len(names)} are no files and left out (0000.txt: no file but a pipe,")


def test_a_pipe_a_socket_and_a_device_are_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        places = ["pipe", "socket", "/dev/zero", "."]
        for place in places + ["/proc/kmsg"] * Path("/proc/kmsg").exists():
            with pytest.raises(
                OSError, match=r"Not a regular|No such device|directory|not permitted"
            ):
                open_regular(place)
            with pytest.raises(ImageError):
                decode_image(place)
