"""The demo from end to end, as small as it goes."""

import json
from pathlib import Path

from longclip.demo import DemoConfig, run_demo


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
    assert [models[name]["long"]["context_length"] for name in models] == [77, 248, 248]
    for values in models.values():
        assert values["long"]["long"]["images"] == values["long"]["long"]["texts"] == 20
        assert values["short"]["zero_shot"]["landmark"]["images"] == 20
    assert any("training" in stage for stage in stages)

    again = run_demo(config, note)
    assert again["models"].keys() == models.keys()  # type: ignore[attr-defined]
    for name, values in again["models"].items():  # type: ignore[attr-defined]
        assert values["long"] == models[name]["long"], "the same seed gives the same numbers"
