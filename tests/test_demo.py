"""The demo from end to end, as small as it goes."""

import json
from dataclasses import replace
from pathlib import Path

from longclip.demo import DemoConfig, run_demo
from longclip.util.terminal import SILENT


def test_leaves_numbers_and_a_page_and_works_twice(tmp_path: Path) -> None:
    config = DemoConfig(out=tmp_path, scenes=48, test_scenes=20, steps=2, batch_size=40)
    stages: set[str] = set()

    def note(stage: str, done: int, total: int, note: str = "") -> None:
        stages.add(stage)

    results = run_demo(config, note)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    page = (tmp_path / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org", "")
    models = results["models"]
    assert isinstance(models, dict)
    assert list(models) == ["CLIP (nano)", "direct", "KPS only", "PCM only", "Long-CLIP", "best"]
    assert [len(runs) for runs in models.values()] == [1] * 6
    contexts = [runs[0]["long"]["context_length"] for runs in models.values()]
    assert contexts == [77, *[248] * 5]
    for [run] in models.values():
        assert run["long"]["long"]["images"] == run["long"]["long"]["texts"] == 20
        assert run["short"]["zero_shot"]["landmark"]["images"] == 20
    assert any("training" in stage for stage in stages)

    again = run_demo(config, note)
    assert again["models"].keys() == models.keys()  # type: ignore[attr-defined]
    for name, [run] in again["models"].items():  # type: ignore[attr-defined]
        assert run["long"] == models[name][0]["long"], "the same seed gives the same numbers"


def test_several_seeds_give_means_and_spreads(tmp_path: Path) -> None:
    config = DemoConfig(out=tmp_path, scenes=48, test_scenes=20, steps=1, batch_size=40)
    results = run_demo(replace(config, seeds=(0, 1)), SILENT)
    models = results["models"]
    assert isinstance(models, dict)
    assert [len(runs) for runs in models.values()] == [1, *[2] * 5]
    assert {path.name for path in tmp_path.iterdir()} >= {"direct-0", "direct-1", "best-1"}
    assert "one standard deviation" in (tmp_path / "report.html").read_text()
