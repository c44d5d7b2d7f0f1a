"""Damage of a model that was written here is noticed wherever it is loaded, and named."""

import json
import random
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.checkpoints.tensor_files import write_safetensors
from longclip.errors import CheckpointError
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers.cli import Run, run, write_walls  # noqa: F401 (a fixture)
from tests.helpers.models import SMALL, small_clip
from tests.helpers.unigram import write_unigram


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
        "train --model {model} --data {data} --out {out} --steps 1 --batch-size 4",
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


@pytest.fixture(scope="module")
def wordy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with a vocabulary and a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("wordy")
    text = replace(SMALL.text, vocab_size=300, bos_token_id=3, eos_token_id=1, pad_token_id=0)
    longclip.save(small_clip(replace(SMALL, text=text)), folder / "1")
    write_unigram(folder / "1", begin="<s>")
    convert(folder / "1", folder / "2")
    return folder / "2"


@pytest.mark.parametrize("shard_bytes", [10**9, 100_000])
def test_another_word_in_the_tokenizer_is_noticed(
    shard_bytes: int, wordy: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    convert(wordy, model, shard_bytes=shard_bytes)
    before = longclip.load(model).tokenizer.encode(["a red dog"])
    damaged = model / "tokenizer.json"
    content = damaged.read_bytes()
    # One bit of one character of one word.
    damaged.write_bytes(content.replace(b'"12"', b'"92"'))
    assert json.loads(damaged.read_bytes()) != json.loads(content)
    with pytest.raises(
        CheckpointError,
        match=rf"{re.escape(str(damaged))} is damaged or another than .* --new-tokenizer",
    ):
        longclip.load(model)
    damaged.write_bytes(content)
    assert longclip.load(model).tokenizer.encode(["a red dog"]) == before


def test_a_tokenizer_that_was_replaced_on_purpose_is_taken_by_convert(
    wordy: Path,
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    shutil.copytree(wordy, tmp_path / "model")
    write_unigram(tmp_path / "model", begin="")
    refused = run("convert", tmp_path / "model", tmp_path / "new")
    assert refused.code == 1
    assert "tokenizer.json is damaged or another" in refused.err
    words = refused.err.strip().rpartition("on purpose: longclip ")[2]
    words = words.replace("NEW", str(tmp_path / "new")).split()
    assert run(*words).code == 0
    replaced = tokenizer_files(tmp_path / "model").tokenizer.encode(["a red dog"])
    assert longclip.load(tmp_path / "new").tokenizer.encode(["a red dog"]) == replaced
