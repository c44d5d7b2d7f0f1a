"""No pickle takes memory or time that its file does not have, and none runs anything."""

import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import longclip
from longclip.checkpoints.pickles import MAX_INSTRUCTIONS, Known, read_pickle
from longclip.checkpoints.torch_files import read_torch_file
from longclip.errors import CheckpointError
from tests.helpers.models import small_clip

PROTO, STOP = b"\x80\x02", b"."


def read(content: bytes) -> Any:
    def find(module: str, name: str) -> Any:
        assert (module, name) == ("_codecs", "encode"), "as protocol 2 writes bytes"
        return Known(str.encode)

    return read_pickle(memoryview(content), 0, find, lambda saved: saved)[0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_those_of_pythons_reader(protocol: int) -> None:
    shared = ["once", 2.5, -1, 2**40, -(2**70)]
    value = {
        "a": shared,
        "b": (shared, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        3: {"long": "ä" * 300, "bytes": b"\x00\xff" * 200},
        None: [True, False, None, 70_000, 300, 3],
    }
    assert read(pickle.dumps(value, protocol)) == value


ATTACKS = {
    "memo index of 4 billion": PROTO + b"N" + b"r" + struct.pack("<I", 2**32 - 1) + b"0",
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 2**62),
    "text of 2**62": b"\x8d" + struct.pack("<Q", 2**62),
    "bytearray of 2**62": b"\x96" + struct.pack("<Q", 2**62),
    "frame of 2**62": b"\x95" + struct.pack("<Q", 2**62),
    "number of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "text of 4 GB": b"X" + struct.pack("<I", 2**32 - 1),
    "old text of 2 GB": b"T" + struct.pack("<i", 2**31 - 1),
    "marks without end": b"(" * 50_000,
    "tuples in tuples": b")" + b"\x85" * 50_000,
    "lists in lists": b"]" * 50_000 + b"a" * 49_999,
    "a key that is hashed for ever": b")" + b"2\x86" * 60 + b"q\x000}h\x00Ns",
    "doubling": b"]" + b"q\x00" + b"(h\x00h\x00e" * 40,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every attack as a torch archive, as a TorchScript archive, and as a file of old."""
    folder = tmp_path_factory.mktemp("attacks")
    for number, attack in enumerate(ATTACKS.values()):
        for kind in ("state", "script", "legacy"):
            path = folder / f"{number}-{kind}.pt"
            if kind == "legacy":
                path.write_bytes(attack + STOP)
                continue
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a/data.pkl", attack + STOP)
                if kind == "script":
                    archive.writestr("a/constants.pkl", b"")
    torch.save({"a": torch.zeros(1).expand(100_000, 100_000)}, folder / "stride-0.pt")
    for path in list(folder.iterdir()):
        assert path.stat().st_size < 1_000_000
    return folder


_LIMITED = """
import resource, sys
from pathlib import Path
from longclip.checkpoints.torch_files import read_torch_file
from longclip.errors import CheckpointError
from tests.helpers.models import small_clip
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 300_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_torch_file(path)
        print(path.name, "loads")
    except CheckpointError as error:
        assert str(error).startswith(str(path)), error
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited by Linux")
def test_small_files_take_no_more_than_300_mb(files: Path) -> None:
    """All of them are refused, by an error that names them."""
    command = [sys.executable, "-c", _LIMITED, str(files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_a_program_without_end_is_stopped() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"more than 2,000,000 instructions"):
        read(b"N0" * (MAX_INSTRUCTIONS // 2 + 1))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"0.", "takes more from its stack"),
        (b"h\x05.", "makes no sense"),
        (b"N)R.", "calls something that is no function"),
        (b"NNNs.", "no dictionary"),
        (b"}(Nu.", "no dictionary"),
        (b"})Ns.", "tuple as its key"),
        (b"i", "instruction b'i', which torch has not"),
        (b"cposix", "a name without end"),
    ],
)
def test_odd_stacks_are_refused_with_the_reason(content: bytes, says: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=says):
        read(content)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A legacy file whose tensor claims more numbers than there are."""
    torch.save({"a": torch.zeros(10)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    return tmp_path / "a.pt"


def test_a_legacy_file_that_promises_more_than_it_has(saved: Path) -> None:
    content = saved.read_bytes()
    (at,) = [i for i in range(len(content)) if content[i : i + 3] == b"K\n\x85"]
    saved.write_bytes(content[:at] + b"K\x0b\x85" + content[at + 3 :])
    with pytest.raises(CheckpointError, match=r"shape \[11\] needs 44 bytes, and the file has 40"):
        read_torch_file(saved)


def test_tensors_that_share_numbers_are_read_but_not_without_end(tmp_path: Path) -> None:
    whole = torch.arange(1_000_000.0)
    torch.save({"a": whole, "b": whole[:7], "c": whole.view(5000, 200).T}, tmp_path / "a.pt")
    found = read_torch_file(tmp_path / "a.pt")
    assert torch.equal(found["b"], whole[:7])
    assert torch.equal(found["c"], whole.view(5000, 200).T)
    torch.save({str(i): whole.view(-1) for i in range(9)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"repeat the same numbers again and again"):
        read_torch_file(tmp_path / "a.pt")


def test_one_tensor_under_many_names_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Each name would get a copy of its own where the dtype changes."""
    longclip.save(small_clip(), tmp_path / "model", dtype=torch.float16)
    table = torch.zeros(49408, 32, dtype=torch.float16)
    names = ["text_model.embeddings.token_embedding.weight", *map(str, range(9))]
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(dict.fromkeys(names, table), tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"its tensors need 31,621,120: they repeat"):
        longclip.load(tmp_path / "model")


def test_objects_beside_the_weights_of_known_programs_are_passed_over(tmp_path: Path) -> None:
    import argparse
    import collections

    import numpy as np

    content = {
        "args": argparse.Namespace(lr=1),
        "best": np.float64(0.5),
        "scores": collections.defaultdict(list),
        "shape": torch.zeros(2, 3).shape,
        "state_dict": collections.OrderedDict(a=torch.nn.Parameter(torch.ones(3))),
    }
    torch.save(content, tmp_path / "a.pt")
    found = read_torch_file(tmp_path / "a.pt")
    assert found["shape"] == [2, 3]
    assert torch.equal(found["state_dict"]["a"], torch.ones(3))
