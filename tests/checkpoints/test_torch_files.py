"""Pickles and TorchScript archives give tensors and run nothing."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longclip.checkpoints.torch_files import read_torch_file
from longclip.errors import CheckpointError


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 2).half())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.to(x.dtype)


class Outer(nn.Module):
    """As OpenAI's archives: nested modules, buffers, attributes and shared storage."""

    def __init__(self) -> None:
        super().__init__()
        self.input_resolution = 224
        self.layers = nn.ModuleList([Inner(), Inner()])
        self.linear = nn.Linear(3, 4)
        whole = torch.arange(12.0)
        self.register_buffer("first", whole[:4])
        self.register_buffer("turned", whole.view(3, 4).T)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def scripted(path: Path) -> Outer:
    model = Outer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model), path)
    return model


def test_a_torchscript_archive_is_read_for_its_tensors(tmp_path: Path) -> None:
    model = scripted(tmp_path / "model.pt")
    found = read_torch_file(tmp_path / "model.pt")
    assert found.pop("input_resolution") == 224
    assert found.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_state_dict(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3), "b": torch.ones(2, dtype=torch.float16)}
    for zipped in (True, False):
        torch.save(
            {"epoch": 3, "model": tensors},
            tmp_path / "a.pt",
            _use_new_zipfile_serialization=zipped,
        )
        found = read_torch_file(tmp_path / "a.pt")
        assert found["epoch"] == 3
        assert all(torch.equal(found["model"][name], t) for name, t in tensors.items())


@pytest.fixture
def without_checksums() -> Iterator[None]:
    """Have torch write archives whose list has 0 in place of every checksum."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    yield
    torch.serialization.set_crc32_options(before)


@pytest.mark.usefixtures("without_checksums")
def test_an_archive_without_checksums_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(30), "b": torch.ones(2, 3)}
    torch.save(tensors, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert {entry.CRC for entry in archive.infolist()} == {0}
    found = read_torch_file(tmp_path / "a.pt")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("part", ["data.pkl", "byteorder", "data/0"])
def test_damage_of_every_part_with_a_checksum_is_named(part: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.randn(30)}, path)
    with zipfile.ZipFile(path) as archive:
        whole = archive.read(f"a/{part}")
    content = path.read_bytes()
    at = content.index(whole) + len(whole) // 2
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(CheckpointError, match=rf"a\.pt is damaged: .* part a/{part} is .*copy it"):
        read_torch_file(path)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_malicious_pickle_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for zipped in (True, False):
        torch.save({"w": Evil(mark)}, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=r"evil\.pt holds more than tensors \(posix"):
            read_torch_file(tmp_path / "evil.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(CheckpointError, match=r"raw\.pt"):
        read_torch_file(tmp_path / "raw.pt")
    assert not mark.exists()


def rewritten(source: Path, target: Path, changes: dict[str, bytes], packed: int = 0) -> None:
    """A copy of a zip archive with other content in some entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            name = entry.filename.partition("/")[2]
            content = changes.get(name, old.read(entry))
            new.writestr(entry.filename, content, compress_type=packed)


def test_a_malicious_torchscript_archive_runs_nothing(tmp_path: Path) -> None:
    scripted(tmp_path / "model.pt")
    mark = tmp_path / "mark"
    evil = pickle.dumps(Evil(mark), protocol=2)
    rewritten(tmp_path / "model.pt", tmp_path / "evil.pt", {"data.pkl": evil})
    with pytest.raises(CheckpointError, match=r"evil\.pt holds more than tensors \(posix\.mkdir"):
        read_torch_file(tmp_path / "evil.pt")
    assert not mark.exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "a.pt")
    rewritten(tmp_path / "a.pt", tmp_path / "bomb.pt", {}, packed=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < 100_000
    with pytest.raises(CheckpointError, match=r"bomb\.pt has compressed entries"):
        read_torch_file(tmp_path / "bomb.pt")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
def test_a_truncated_file(kept: float, tmp_path: Path) -> None:
    scripted(tmp_path / "script.pt")
    torch.save({"a": torch.randn(1000)}, tmp_path / "state.pt")
    for name in ("script.pt", "state.pt"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            read_torch_file(tmp_path / name)


def test_not_a_dictionary(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(CheckpointError, match=r"holds a Tensor, expected a state dict"):
        read_torch_file(tmp_path / "tensor.pt")


def test_what_is_missing_from_an_archive(tmp_path: Path) -> None:
    scripted(tmp_path / "model.pt")
    with (
        zipfile.ZipFile(tmp_path / "model.pt") as old,
        zipfile.ZipFile(tmp_path / "x.pt", "w") as new,
    ):
        for entry in old.infolist():
            if not entry.filename.endswith("data/0"):
                new.writestr(entry.filename, old.read(entry))
    with pytest.raises(CheckpointError, match=r"its part data/0 is missing"):
        read_torch_file(tmp_path / "x.pt")
