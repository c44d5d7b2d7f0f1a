"""convert and inspect."""

from pathlib import Path

import pytest
import torch

import longclip
from longclip.checkpoints import open_checkpoint
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.inspect import compare
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.models import small_clip

SHAPE = CLIPConfig(
    text=TextConfig(64, 256, 2, 1),
    vision=VisionConfig(128, 512, 2, 2, image_size=32, patch_size=8),
    projection_dim=24,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small"
    longclip.save(longclip.stretch(small_clip(SHAPE)), path)
    return path


def test_there_and_back(run: Run, model: Path) -> None:  # noqa: F811
    outcome = run("convert", model, "small.pt", "--to", "openai")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"{model} (Hugging Face) → small.pt (openai)\nnext: longclip inspect small.pt\n"
    )
    done = run("convert", "small.pt", "again", "--json").json
    assert (done["format"], done["to"]) == ("OpenAI", "hf")
    assert compare(open_checkpoint(model), open_checkpoint(Path("again"))) == []
    assert done["sha256"] in Path("again/README.md").read_text()
    same = run("inspect", "again", "--against", model)
    assert same.code == 0
    assert f"the same weights as {model}, bit for bit" in same.out


def test_another_dtype(run: Run, model: Path) -> None:  # noqa: F811
    run("convert", model, "half", "--dtype", "float16")
    assert longclip.load("half", dtype=None).dtype == torch.float16
    outcome = run("inspect", "half", "--against", model, "--json")
    assert outcome.code == 1
    differences = outcome.json["against"]["differences"]
    assert len(differences) > 10
    assert all(difference["largest"] < 1e-2 for difference in differences)


def test_inspect(run: Run, model: Path) -> None:  # noqa: F811
    found = run("inspect", model, "--json").json
    assert found["format"] == "Hugging Face"
    assert found["context_length"] == 248
    assert found["towers"]["text"]["heads"] == 1
    assert found["towers"]["image"]["image_size"] == 32
    assert (found["stretch"]["kind"], found["stretch"]["keep"]) == ("knowledge-preserved", 20)
    assert len(found["sha256"]) == 64
    text = run("inspect", model).out
    assert "248; stretched from 77 rows, the first 20 rows kept, ratio 4; rows as" in text
    assert "quick_gelu" in text
    nano = run("inspect", "nano").out
    assert "tokens        77; not stretched" in nano


def test_what_cannot_be_done_is_said(run: Run, model: Path) -> None:  # noqa: F811
    outcome = run("convert", model, "x", "--shard-size", 0)
    assert (outcome.code, outcome.out) == (1, "")
    assert "--shard-size is 0.0, must be above 0" in outcome.err
    run("convert", model, "text", "--to", "hf-text")
    outcome = run("convert", "text", "x", "--to", "openclip")
    assert outcome.code == 1
    assert "one tower alone and openclip takes both; write it with --to hf" in outcome.err
    assert not Path("x").exists()
