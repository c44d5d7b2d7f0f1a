"""The script that makes the bundled model, from end to end with few steps."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import longclip
from longclip.scenes import attributes, make_scene
from longclip.text import tokenize

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_nano.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_nano", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What the drawing processes are handed is looked up by the module's name.
    monkeypatch.setitem(sys.modules, "make_nano", module)
    spec.loader.exec_module(module)
    for name in ("SEEING_STEPS", "WORDS_STEPS", "CAPTIONS_STEPS", "TOGETHER_STEPS"):
        monkeypatch.setattr(module, name, 2)
    monkeypatch.setattr(module, "SCENES", 40)
    monkeypatch.setattr(module, "SEEING_BATCH", 8)
    monkeypatch.setattr(module, "WORDS_BATCH", 20)
    monkeypatch.setattr(module, "CAPTIONS_BATCH", 20)
    monkeypatch.setattr(module, "TOGETHER_BATCH", 8)
    monkeypatch.setattr(module, "NANO", tmp_path / "nano")
    monkeypatch.setattr(sys, "argv", ["make_nano.py", "--out", str(tmp_path / "run")])
    return module


def test_makes_a_model_that_knows_the_words_of_scenes_and_no_others(
    script: ModuleType, tmp_path: Path
) -> None:
    script.main()
    model = longclip.load(tmp_path / "nano")
    assert (model.context_length, model.preprocess.image_size) == (77, 96)
    table = model.text_model.embeddings.token_embedding.weight
    known = table.abs().sum(dim=1) > 0
    words = [text for wordings in attributes(make_scene("train", 3)) for text in wordings]
    assert known[tokenize(words, 77).flatten()].all()
    assert not known[tokenize(["zebra"], 77)[0, 1]]
    assert (tmp_path / "nano" / "README.md").read_text().startswith("---\nlicense: mit")

    seen = (tmp_path / "run" / "seeing" / "model.safetensors").stat().st_mtime_ns
    sys.argv.append("--resume")
    script.main()
    assert (tmp_path / "run" / "seeing" / "model.safetensors").stat().st_mtime_ns == seen


def test_all_scenes_with_an_attribute_are_right_answers(script: ModuleType) -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    right = torch.tensor([[True, False, True], [False, False, False]])
    rows = logits[0].log_softmax(0)
    assert script._cross_entropy(logits, right) == pytest.approx(float(-(rows[0] + rows[2]) / 2))


def test_a_scene_is_seen_by_what_is_where(script: ModuleType) -> None:
    scene = make_scene("train", 5)
    found = script._visible(scene)
    assert found["house side"] == scene.house.side
    assert found["landmark kind"] == scene.landmark.kind
    for something in scene.front:
        assert found[f"front {something.side} kind"] == something.kind
    empty = {"left", "middle", "right"} - {something.side for something in scene.front}
    assert all(found[f"front {side} kind"] == "None" for side in empty)
