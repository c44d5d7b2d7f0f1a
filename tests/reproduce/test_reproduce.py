"""Experiments of papers on a stand-in hub: small weights and data in the published layouts."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import longclip
from longclip import scenes
from longclip.errors import DataError, UsageError
from longclip.evaluation.benchmarks import BENCHMARKS, PUBLISHED
from longclip.reproduce import EXPERIMENTS, ReproduceConfig, make_plan, reproduce
from longclip.reproduce.experiments import SHAREGPT4V_FILE, SHAREGPT4V_HUB
from longclip.training.recipes import direct, paper
from tests.helpers.hub_server import hub_server

_HELD_OUT, _PAIRS = 1000, 130
_MISSING = 3


def test_the_ablation_takes_one_thing_away_at_a_time() -> None:
    made = {arm.name: arm.recipe for arm in EXPERIMENTS["supplement-table3"].arms}
    assert made["direct"] == direct()
    assert made["long-clip"] == paper()
    assert made["pcm"] == replace(direct(), pcm=True, recipe="custom")
    assert made["stretching"] == replace(paper(), pcm=False, recipe="custom")


def test_benchmarks_and_published_rows_are_known() -> None:
    for experiment in EXPERIMENTS.values():
        assert set(experiment.benchmarks) <= set(BENCHMARKS)
        rows = {row for name in experiment.benchmarks for row in PUBLISHED[name]}
        for arm in experiment.arms:
            assert arm.published.format(base="B/16") in rows


def test_without_training_data_it_says_where_to_get_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = make_plan("paper", ReproduceConfig(root=tmp_path, out=out))
    told = {item.what: item for item in plan.items}
    data = told["training data ShareGPT4V"]
    assert data.state == told["imagenet"].state == "missing"
    assert re.search(r"1\.5 GB.*000050\.tar", data.detail)
    assert "It cannot begin: there is no training data" in "\n".join(plan.lines())
    with pytest.raises(DataError, match=r"no training data.*--download.*none of them is in"):
        reproduce(plan)
    assert not out.exists()


def test_with_nothing_to_measure_on_nothing_is_trained(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = make_plan("debias", ReproduceConfig(root=tmp_path, data="scenes", out=out))
    with pytest.raises(DataError, match=r"^debias measures on .*none of them is in"):
        reproduce(plan)
    assert not out.exists()


def test_the_plan_tells_sizes_licences_and_hours(tmp_path: Path) -> None:
    plan = make_plan("paper", ReproduceConfig(root=tmp_path, download=True))
    told = {item.what: item for item in plan.items}
    assert told["model ViT-B/16"].state == "to fetch"
    assert told["urban1k"].state == "to fetch"
    assert "0.08 GB; CC BY-NC 4.0" in told["urban1k"].detail
    assert told["imagenet"].state == "missing"
    assert "imagenet" not in plan.benchmarks
    # ViT-B/16: 12 layers of 24 W² + 4 W T operations a token in each tower, thrice, by hand.
    image = 12 * 197 * (24 * 768**2 + 4 * 768 * 197)
    text = 12 * 194 * (24 * 512**2 + 4 * 512 * 194)
    hours = 1_245_000 * 3 * (image + text) / (0.35 * 312e12) / 3600
    assert f"about {hours:.1f} hours" in told["training long-clip"].detail
    twice = make_plan("paper", ReproduceConfig(root=tmp_path, download=True, epochs=2))
    assert (
        f"about {2 * hours:.1f} hours"
        in {i.what: i for i in twice.items}["training long-clip"].detail
    )


def test_an_unknown_experiment(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only paper, supplement-table3, debias"):
        make_plan("table9", ReproduceConfig(root=tmp_path))  # type: ignore[arg-type]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Return a folder to serve: nano as CLIP B/16, ShareGPT4V's list, and a whole Urban-1k."""
    root = tmp_path / "hub"
    longclip.save(longclip.load("nano"), root / "openai" / "clip-vit-base-patch16")
    rows = [_row(number) for number in range(_HELD_OUT + _PAIRS)]
    file = root / "datasets" / SHAREGPT4V_HUB / SHAREGPT4V_FILE
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(rows))
    archive = root / "datasets" / "BeichenZhang" / "Urban1k" / "Urban-1k.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as content:
        for number in range(1000):
            scene = scenes.make_scene("test", number)
            picture = tmp_path / "picture.jpg"
            scenes.draw(scene, 32).save(picture)
            content.write(picture, f"Urban1k/image/{number:04}.jpg")
            content.writestr(f"Urban1k/caption/{number:04}.txt", scenes.describe(scene))
    return root


def _row(number: int) -> dict[str, object]:
    text = scenes.describe(scenes.make_scene("train", number))
    said = [{"from": "human", "value": "<image>\nDescribe it."}, {"from": "gpt", "value": text}]
    image = f"coco/train2017/{number:012}.jpg"
    return {"id": str(number), "image": image, "conversations": said}


def _run(endpoint: str, folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "longclip", "reproduce", "debias", "--root", "data"]
    command += ["--download", "--steps", "2", "--batch-size", "48", "--out", "out", *more]
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hub-cache"), "OMP_NUM_THREADS": "1"}
    own |= {"XDG_CACHE_HOME": str(folder / "cache")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | own
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_from_weights_to_tables_and_on_after_every_stop(hub: Path, tmp_path: Path) -> None:
    folder = tmp_path / "user"
    pictures = folder / "data" / "coco" / "train2017"
    pictures.mkdir(parents=True)
    for number in range(_HELD_OUT + _MISSING, _HELD_OUT + _PAIRS):
        scene = scenes.make_scene("train", number)
        scenes.draw(scene, 64).save(pictures / f"{number:012}.jpg")
    listed = hub / "datasets" / SHAREGPT4V_HUB / SHAREGPT4V_FILE
    hidden = listed.rename(tmp_path / "hidden.json")
    with hub_server(hub) as (endpoint, _):
        broken = _run(endpoint, folder)
        assert broken.returncode == 1, broken.stderr
        assert "could not be fetched" in broken.stderr
        assert "Try again" in broken.stderr
        hidden.rename(listed)
        done = _run(endpoint, folder)
        assert done.returncode == 0, done.stderr
        assert f"{_MISSING} of {_PAIRS} rows left out: no such picture" in done.stderr
        assert "docci" in done.stderr  # it is said to be missing
        report = (folder / "out" / "report.md").read_text()
        published = PUBLISHED["urban1k"]["DeBias-CLIP B/16"].metrics["image_to_text R@1"]
        found = re.search(r"^\| debias-clip \| ([\d.]+) \(([\d.]+), ([-+][\d.]+)\)", report, re.M)
        assert found
        assert float(found[2]) == published
        assert float(found[3]) == pytest.approx(float(found[1]) - published, abs=0.051)
        assert "Not measured on docci" in report
        assert "longclip reproduce debias" in (folder / "out" / "report.html").read_text()

        # A stop after the first training: what was done is not done again.
        kept = folder / "out" / "results" / "clip-urban1k.json"
        before = kept.stat().st_mtime_ns
        shutil.rmtree(folder / "out" / "debias-clip" / "model")
        (folder / "out" / "results" / "debias-clip-urban1k.json").unlink()
        (folder / "out" / "report.md").unlink()
        again = _run(endpoint, folder)
        assert again.returncode == 0, again.stderr
        assert "training debias-clip, from its last checkpoint" in again.stderr
        assert "training long-clip" not in again.stderr.partition("opening")[2]
        assert kept.stat().st_mtime_ns == before
        assert (folder / "out" / "report.md").read_text() == report

        other = _run(endpoint, folder, "--seed", "1")
        assert other.returncode == 2
        assert "seed 0 then, 1 now" in other.stderr
