"""Pictures from tiny pipelines, against what the pipeline's own call draws."""

import functools
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from longclip.cli.generate import GenerateOptions, generate_command
from longclip.diffusion import PromptCut, apply, undo
from longclip.diffusion import generation as generating
from longclip.diffusion.generation import GenerateConfig, generate
from longclip.diffusion.pictures import read_facts
from longclip.diffusion.pipeline import open_pipeline
from tests.helpers.saved_pipelines import BEGINNING, BOAT, DOG, saved_clip, saved_pipeline

SIZE: dict[str, Any] = {"width": 32, "height": 32}
BOTH: dict[str, Any] = SIZE | {"steps": 2}


@functools.cache
def opened(family: Any) -> Any:
    """A pipeline from disk; opening it takes longer than all else."""
    return open_pipeline(str(saved_pipeline(family)), dtype=torch.float32, device="cpu")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open each pipeline only once."""

    def open_once(model: str, **_: Any) -> Any:
        pipeline = opened(Path(model).name)
        if hasattr(pipeline, "_longclip_applied"):
            undo(pipeline)
        return pipeline

    monkeypatch.setattr(generating, "open_pipeline", open_once)


def config(prompt: str, family: Any = "sd1", **more: Any) -> GenerateConfig:
    return GenerateConfig(prompt, str(saved_pipeline(family)), **(BOTH | more))


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def drawn(tmp_path: Path, prompt: str, family: Any = "sd1", **more: Any) -> np.ndarray[Any, Any]:
    [written] = generate(config(prompt, family, **more), tmp_path / "a.png", overwrite=True)
    return pixels(written.path)


def by_hand(prompt: str, family: Any, *, long: bool, seed: int, **more: Any) -> Any:
    """The pipeline's own call, without our encode."""
    pipeline = generating.open_pipeline(str(saved_pipeline(family)))  # type: ignore[call-arg]
    if long:
        apply(pipeline, text_encoder=saved_clip(family))
    generator = torch.Generator().manual_seed(seed)
    images = pipeline(prompt, **SIZE, num_inference_steps=2, generator=generator, **more).images
    return np.asarray(images[0])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_it_is_the_pipelines_own_picture(family: Any, tmp_path: Path) -> None:
    clip = str(saved_clip(family))
    found = drawn(tmp_path, BOAT, family, text_encoder=clip, seed=3, negative="fog", guidance=4.0)
    expected = by_hand(BOAT, family, long=True, seed=3, negative_prompt="fog", guidance_scale=4.0)
    assert np.array_equal(found, expected)


@pytest.mark.usefixtures("quick")
def test_side_by_side(tmp_path: Path) -> None:
    made = {}
    for name, prompt in (("boat", BOAT), ("dog", DOG)):
        setting = config(prompt, text_encoder=str(saved_clip("sd1")))
        generate(setting, tmp_path / f"{name}.png", compare=True)
        made[name] = pixels(tmp_path / f"{name}.png")
    # In the middle of two halves of the same width.
    columns = made["boat"].shape[1] // 2
    left, right = by_hand(BOAT, "sd1", long=False, seed=0), by_hand(BOAT, "sd1", long=True, seed=0)
    assert not np.array_equal(left, right)
    for half, expected in ((made["boat"][:, :columns], left), (made["boat"][:, columns:], right)):
        windows = np.lib.stride_tricks.sliding_window_view(half, (32, 32, 3))[:, :, 0]
        assert (windows == expected).all(axis=(-3, -2, -1)).any()
    top = slice(0, 120)  # titles and pictures; the prompts below differ
    assert np.array_equal(made["boat"][top, :columns], made["dog"][top, :columns])
    assert not np.array_equal(made["boat"][top, columns:], made["dog"][top, columns:])


@pytest.mark.usefixtures("quick")
def test_what_is_written_down(tmp_path: Path) -> None:
    setting = config(BOAT, "sdxl", text_encoder=str(saved_clip("sdxl")), seed=7, clip_skip=1)
    [written] = generate(setting, tmp_path / "a.png")
    facts = read_facts(written.path)
    assert facts == written.facts
    expected = {
        "prompt": BOAT,
        "negative": "",
        "model": "sdxl",
        "text_encoders": {
            "text_encoder": "sdxl-text_encoder",
            "text_encoder_2": "its own, stretched",
        },
        "context_length": 248,
        "seed": 7,
        "steps": 2,
        "guidance": 5.0,
        "width": 32,
        "height": 32,
        "clip_skip": 1,
        "scheduler": "DDIM",
        "dtype": "float32",
    }
    assert {name: facts[name] for name in expected} == expected
    assert set(facts["versions"]) == {"longclip", "diffusers", "transformers", "torch"}
    assert str(tmp_path.parent) not in json.dumps(facts), "pictures tell nobody's paths"


@pytest.mark.usefixtures("quick")
def test_several_pictures_have_the_next_seeds(tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    written = generate(
        config("a boat", count=2, seed=5),
        tmp_path / "a.png",
        on_progress=lambda stage, done, total, note="": shown.append((stage, done, total)),
    )
    assert [one.path.name for one in written] == ["a-1.png", "a-2.png"]
    assert [one.facts["seed"] for one in written] == [5, 6]
    assert np.array_equal(pixels(tmp_path / "a-2.png"), drawn(tmp_path, "a boat", seed=6))
    assert shown[:3] == [("long encoder, picture 1 of 2", done, 2) for done in range(3)]


@pytest.mark.usefixtures("quick")
def test_weights_and_overflow(tmp_path: Path) -> None:
    plain = drawn(tmp_path, "a red boat", weights=True)
    assert not np.array_equal(drawn(tmp_path, "a (red:1.9) boat", weights=True), plain)
    far = BEGINNING * 4
    with pytest.warns(PromptCut, match="cut off: .*two old dogs"):
        cut = drawn(tmp_path, f"{far}Two old dogs.")
    with pytest.warns(PromptCut):
        assert np.array_equal(drawn(tmp_path, f"{far}A red boat."), cut)
    chunks = [drawn(tmp_path, far + end, overflow="chunk") for end in ("A boat.", "Two dogs.")]
    assert not np.array_equal(*chunks)


def test_files_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"a.png is there already; .* --overwrite"):
        generate(config("a boat"), path)
    with pytest.raises(ValueError, match=r"name a file that ends in .png"):
        generate(config("a boat"), tmp_path / "a.jpg")
    assert path.read_text() == "mine"
    (tmp_path / "b-2.png").write_text("mine")
    with pytest.raises(ValueError, match=r"b-2.png is there already"):
        generate(config("a boat", count=2), tmp_path / "b.png")
    assert not (tmp_path / "b-1.png").exists()


def test_wrong_settings() -> None:
    for name, value in (("steps", 0), ("count", 0), ("width", 0), ("height", 70)):
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            config("a boat", **{name: value})
    with pytest.raises(ValueError, match="device 'cuda:7' cannot be used"):
        open_pipeline(str(saved_pipeline("sd1")), dtype=torch.float32, device="cuda:7")


@pytest.mark.usefixtures("quick")
def test_another_kind_of_long_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit the pipeline"):
        generate(config("a boat", text_encoder="nano"), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(saved_pipeline("sd1"))
    out = tmp_path / "new" / "a.png"
    options = GenerateOptions("a boat", model, out=out, steps=1, width=16, height=16)
    generate_command(replace(options, compare=True))
    assert capsys.readouterr().out == f"written: {out}\n"
    assert read_facts(out)["compared_with"]
    generate_command(replace(options, overwrite=True, dtype="bfloat16"), as_json=True)
    [told] = json.loads(capsys.readouterr().out)
    assert told == {"path": str(out)} | read_facts(out)
    assert told["dtype"] == "bfloat16"

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "diffusers" else found(name)
    )
    with pytest.raises(ValueError, match=r'diffusers, which is .* pip install "longclip\[diffu'):
        generate_command(options)
