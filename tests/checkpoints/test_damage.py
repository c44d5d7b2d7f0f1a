"""Damage of a model that was written here is noticed wherever it is loaded, and named."""

import random
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.checkpoints.tensor_files import write_safetensors
from longclip.errors import CheckpointError
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from tests.helpers.cli import Run, run, write_walls  # noqa: F401 (a fixture)
from tests.helpers.models import small_clip


def flip_a_bit(path: Path, seed: int) -> None:
    """Flip one bit anywhere behind the header."""
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    chosen = random.Random(seed)
    content[chosen.randrange(start, len(content))] ^= 1 << chosen.randrange(8)
    path.write_bytes(content)


def flip_a_bit_of_a_part(path: Path, seed: int) -> None:
    """Flip one bit of a tensor of an archive."""
    content = bytearray(path.read_bytes())
    chosen = random.Random(seed)
    with zipfile.ZipFile(path) as archive:
        entry = chosen.choice([e for e in archive.infolist() if "/data/" in e.filename])
    at = entry.header_offset + 26
    lengths = [int.from_bytes(content[i : i + 2], "little") for i in (at, at + 2)]
    content[at + 4 + sum(lengths) + chosen.randrange(entry.file_size)] ^= 1 << chosen.randrange(8)
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() == entry.filename


LAYOUTS = {
    "hf": ("hf", "model.safetensors", 10**9),
    "shards": ("hf", "model-00002-of-*.safetensors", 500_000),
    "text": ("hf-text", "model.safetensors", 10**9),
    "openclip": ("openclip", "open_clip_model.safetensors", 10**9),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_one_flipped_bit_is_noticed(layout: str, seed: int, saved: Path, tmp_path: Path) -> None:
    target, file, shard_bytes = LAYOUTS[layout]
    convert(saved, tmp_path / "model", target, shard_bytes=shard_bytes)  # type: ignore[arg-type]
    longclip.load(tmp_path / "model")
    [damaged] = (tmp_path / "model").glob(file)
    flip_a_bit(damaged, seed)
    with pytest.raises(CheckpointError, match=rf"{re.escape(str(damaged))} is damaged: .*copy it"):
        longclip.load(tmp_path / "model")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that OpenAI's and Long-CLIP's code can hold: heads 64 wide, 248 tokens."""
    config = CLIPConfig(
        text=TextConfig(64, 256, 2, 1),
        vision=VisionConfig(128, 512, 2, 2, image_size=32, patch_size=8),
        projection_dim=24,
    )
    path = tmp_path_factory.mktemp("wide") / "model"
    longclip.save(longclip.stretch(small_clip(config)), path)
    return path


@pytest.mark.parametrize("target", ["openai", "longclip"])
def test_one_flipped_bit_of_an_archive_is_noticed(
    target: str,
    wide: Path,
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    file = tmp_path / "model.pt"
    convert(wide, file, target)  # type: ignore[arg-type]
    longclip.load(file)
    assert "checksum      right" in run("inspect", file).out
    whole = file.read_bytes()
    for seed in range(5):
        file.write_bytes(whole)
        flip_a_bit_of_a_part(file, seed)
        with pytest.raises(CheckpointError, match=rf"{re.escape(str(file))} is damaged: .*copy it"):
            longclip.load(file)


@pytest.mark.parametrize(
    "command",
    [
        "inspect {model}",
        "convert {model} {out}",
        "stretch {model} {out} --context-length 200",
        "eval {model} --data scenes/test",
        "train --model {model} --data {data} --out {out} --steps 1",
        "index {data} --model {model} --db {out}",
        "average {model} {model} {out}",
    ],
)
def test_every_command_names_the_file(
    command: str,
    run: Run,  # noqa: F811
    model_dir: Path,
    tmp_path: Path,
) -> None:
    flip_a_bit(model_dir / "model.safetensors", 0)
    data = write_walls(tmp_path / "walls", 4)
    done = run(*command.format(model=model_dir, out=tmp_path / "out", data=data).split())
    assert done.code == 1
    assert f"{model_dir / 'model.safetensors'} is damaged" in done.err


def test_other_programs_read_the_file_and_its_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    tensors = small_clip().state_dict() | {"count": torch.tensor(3), "half": torch.ones(3).half()}
    for name in ("one", "two"):
        write_safetensors(tmp_path / name, tensors)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = load_file(tmp_path / "one")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_files_of_other_programs_have_no_checksum(
    run: Run,  # noqa: F811
    model_dir: Path,
) -> None:
    weights = model_dir / "model.safetensors"
    assert "checksum      right" in run("inspect", model_dir).out
    save_file(load_file(weights), weights)
    assert "checksum      none" in run("inspect", model_dir).out
    flip_a_bit(weights, 0)
    longclip.load(model_dir)
