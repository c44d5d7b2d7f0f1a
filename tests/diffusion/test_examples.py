"""The scripts of examples/, on tiny pipelines."""

import runpy
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from longclip.diffusion import PromptCut
from tests.helpers.saved_pipelines import saved_clip, saved_pipeline

EXAMPLES = Path(__file__).parents[2] / "examples"


def pictures(
    script: str, family: str, out: Path, monkeypatch: pytest.MonkeyPatch, *more: object
) -> dict[str, Image.Image]:
    """Run a script and return the pictures that it leaves, by name."""
    words = [script, "--model", saved_pipeline(family), "--out", out, "--size", 16, "--steps", 2]
    monkeypatch.setattr("sys.argv", [str(word) for word in (*words, *more)])
    runpy.run_path(str(EXAMPLES / script))
    return {path.stem: Image.open(path) for path in sorted(out.glob("*.png"))}


def same(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is None


def test_stable_diffusion_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = saved_clip("sd1")
    made = pictures("stable_diffusion_1.py", "sd1", tmp_path, monkeypatch, "--text-encoder", clip)
    assert list(made) == ["1-original", "2-long", "3-stretched", "4-weighted", "5-undone"]
    assert same(made["5-undone"], made["1-original"])
    others = [made[name] for name in ("1-original", "2-long", "3-stretched", "4-weighted")]
    for place, picture in enumerate(others):
        assert not any(same(picture, other) for other in others[:place])
    assert (tmp_path / "pipeline" / "model_index.json").is_file()


@pytest.mark.parametrize("own", [True, False], ids=["stretched", "long-clip"])
def test_stable_diffusion_2(own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = () if own else ("--text-encoder", saved_clip("sd2"))
    made = pictures("stable_diffusion_2.py", "sd2", tmp_path, monkeypatch, *more)
    assert list(made) == ["dog", "kettle"]
    assert not same(made["dog"], made["kettle"]), "they differ behind token 77 only"


@pytest.mark.filterwarnings(f"error::{PromptCut.__module__}.{PromptCut.__name__}")
def test_sdxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = saved_clip("sdxl")
    made = pictures("sdxl.py", "sdxl", tmp_path, monkeypatch, "--text-encoder", clip)
    assert set(made) == {"heron", "house", "house-again"}
    assert not same(made["heron"], made["house"])
