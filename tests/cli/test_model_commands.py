"""stretch, train and eval on models and data of a second."""

import gzip
import json
import math
import os
import re
import sys
from pathlib import Path

import pytest
import torch

import longclip
from longclip.model.stretch import stretch_table
from longclip.training import TrainConfig
from longclip.training.run.directory import config_json
from tests.helpers.cli import Run, run, write_walls  # noqa: F401 (a fixture)
from tests.helpers.models import small_clip
from tests.helpers.training import CONFIG

IMAGES = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small"
    longclip.save(small_clip(), path, dtype=torch.bfloat16)
    return path


@pytest.fixture(scope="module")
def walls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_walls(tmp_path_factory.mktemp("data") / "walls", IMAGES)


# eval


def test_a_suite_and_data_are_not_measured_together(run: Run) -> None:  # noqa: F811
    outcome = run("eval", "nano", "--suite", "paper", "--data", "scenes")
    assert outcome.code == 1
    assert "--suite paper stands in place of --data" in outcome.err
    assert "--data paper --data scenes" in outcome.err


@pytest.mark.parametrize("model", ["openvino:x", "mine=openvino:x"])
def test_a_missing_runtime_shows_before_data_and_models_are_opened(
    run: Run,  # noqa: F811
    model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "longclip.util.libraries.importlib.util.find_spec",
        lambda name: None if name == "openvino" else object(),
    )
    outcome = run("eval", "nano", model, "--data", "there-is-none.csv")
    assert outcome.code == 1
    assert 'pip install "longclip[openvino]"' in outcome.err
    assert "there-is-none" not in outcome.err


# stretch


def test_stretch(run: Run, model: Path) -> None:  # noqa: F811
    outcome = run("stretch", model, "longer")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{model}: 77 → 248 tokens, longer\n"
    before, after = (longclip.load(path, dtype=None) for path in (model, "longer"))
    assert after.dtype == torch.bfloat16, "what is stored stays"
    tables = [m.text_model.embeddings.position_embedding.weight for m in (before, after)]
    assert torch.equal(tables[1], stretch_table(tables[0], 248, keep=20))


def test_stretch_with_options_and_json(run: Run, model: Path) -> None:  # noqa: F811
    options = ("--context-length", 160, "--method", "linear", "--json")
    assert run("stretch", model, "longer", *options).json == {
        "source": str(model),
        "destination": "longer",
        "from": 77,
        "context_length": 160,
        "method": "linear",
        "keep": 0,
    }
    table = longclip.load("longer", dtype=None).text_model.embeddings.position_embedding.weight
    old = longclip.load(model, dtype=None).text_model.embeddings.position_embedding.weight
    assert torch.equal(table, stretch_table(old, 160, keep=0))
    kept = run("stretch", model, "other", "--keep", 5, "--ratio", 4, "--json").json
    assert kept["keep"] == 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--context-length", 60), "60 is not longer than the model's 77; stretching only leng"),
        (("--keep", 76), "must be between 0 and 75"),
        (("--ratio", 2), "it must be at least 4"),
    ],
)
def test_impossible_stretches(
    options: tuple[object, ...],
    says: str,
    run: Run,  # noqa: F811
    model: Path,
) -> None:
    outcome = run("stretch", model, "longer", *options)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("longclip: error: ")
    assert says in outcome.err
    assert not Path("longer").exists()


def test_stretch_overwrites_models_only(run: Run, model: Path) -> None:  # noqa: F811
    Path("work").mkdir()
    Path("work/config.json").write_text("{}")
    outcome = run("stretch", model, "work")
    assert outcome.code == 1
    assert "work exists and holds no model.safetensors" in outcome.err
    assert run("stretch", model, "longer").code == 0
    assert run("stretch", model, "longer", "--context-length", 100).code == 0
    assert longclip.load("longer").context_length == 100


# train


@pytest.fixture
def options(walls: Path, tmp_path: Path) -> dict[str, object]:
    """A run of four steps from random weights."""
    scratch = tmp_path / "architecture.json"
    scratch.write_text(json.dumps(CONFIG))
    return {
        "--scratch": scratch,
        "--data": walls,
        "--out": "out",
        "--steps": 4,
        "--batch-size": 4,
        "--lr": 1e-3,
        "--pcm-components": 2,
        "--workers": 0,
        "--log-every": 1,
        "--checkpoint-every": 2,
    }


def flat(options: dict[str, object]) -> list[object]:
    return [word for pair in options.items() if pair[1] is not None for word in pair]


def test_train_then_resume(run: Run, options: dict[str, object], walls: Path) -> None:  # noqa: F811
    outcome = run("train", *flat(options), "--json")
    assert outcome.code == 0
    assert outcome.json["model"] == "out/model"
    assert outcome.json["steps"] == 4
    assert outcome.json["bad"] == []
    model, data, recipe, steps, place = outcome.err.splitlines()[1:6]
    assert data.startswith(f"data: walls/walls: {IMAGES} pictures; short: short (2 each, median ")
    [about] = outcome.json["data"]
    assert about["pictures"] == IMAGES
    assert json.loads(Path("out/data.json").read_text()) == [about]
    assert "stretched to 248 tokens" in model
    assert "all of it learns" in model
    assert "pcm-components 2" in recipe
    assert "4 steps of 4 pairs" in steps
    assert place.endswith("goes into out")
    assert longclip.load("out/model").context_length == 248
    config = json.loads(Path("out/config.json").read_text())
    assert config["recipe"] == "paper"
    assert config["data"] == [str(walls)]
    assert (config["lr"], config["batch_size"]) == (1e-3, 4)
    assert config["stretch"] == "knowledge-preserved", "not given, so the recipe's"
    lines = Path("out/metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 4
    assert all(map(math.isfinite, losses))

    again = run("train", *flat(options))
    assert (again.code, again.out) == (1, "")
    assert "out already holds a run; continue it with --resume" in again.err
    changed = run("train", *flat(options), "--seed", 7, "--resume")
    assert changed.code == 1
    assert "--seed was 0 (the default), now 7" in changed.err

    before = Path("out/model/model.safetensors").read_bytes()
    resumed = run("train", *flat(options), "--resume")
    assert resumed.code == 0
    assert resumed.out.startswith("out/model: 4 steps in ")
    assert "finished: all 4 steps were made before; only the model is written\n" in resumed.err
    assert "nothing was measured; --holdout 0.05 or --evaluate DATA" in resumed.out
    assert Path("out/model/model.safetensors").read_bytes() == before
    assert "next: longclip eval out/model --data DATA\n" in resumed.out

    another = run("train", "--recipe", "best", "--out", "out", "--resume")
    assert another.code == 1
    assert "out is a run of the recipe paper" in another.err
    assert "not of best; leave out --recipe" in another.err

    gone = run("train", *flat(options | {"--data": "gone.parquet"}), "--resume")
    assert gone.code == 1
    assert "--data gone.parquet: there is no such file" in gone.err
    assert "name its new place with --data NEWPATH: the run goes on" in gone.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--device zzz", "--device zzz is none that a model can run on"),
        ("--device meta", "--device meta is none that a model can run on"),
        ("--epochs inf", "--epochs is inf, must be a finite number"),
        ("--seed -1", "--seed is -1, must be at least 0"),
        ("--keep 248", "--keep 248 leaves nothing of a model's 77 tokens"),
        ("--model runs/gone/model", "no model 'runs/gone/model'"),
        ("--data gone.jsonl", "--data gone.jsonl: there is no such file"),
        ("--data gone.toml", "--data gone.toml: there is no such file"),
        ("--images gone", "no folder of pictures gone"),
        ("--images .", "--images is for tables and folders; scenes would not read it"),
        (
            "--data a-{0..9}.tar --images .",
            "--images is for tables and folders; a-{0..9}.tar would",
        ),
        ("--data a-*.tar --image-column x", "--image-column is for tables and folders; a-*.tar"),
        ("--long-column x", "--long-column is for tables and folders; scenes would not"),
        ("--data scenes/tset", "scenes has no split 'tset', only train"),
        ("--evaluate gone", "--evaluate gone: there is no such benchmark"),
        ("--out file/run", "--out file/run: "),
        ("--out old", "old already holds a run; continue it with --resume"),
        ("--objective none", "--objective none is none of long-clip"),
        ("--data a.tar.gz", "a.tar.gz is no tar file but compressed with gzip"),
        ("--evaluate a.zip", "--evaluate a.zip is packed; unpack it first"),
        ("--data pipe.tar", "pipe.tar is a pipe, which is not read"),
        ("--data pipe.toml", "pipe.toml is a pipe, which is not read"),
    ],
)
def test_what_is_mistyped_is_told_before_torch_is_loaded(
    words: str,
    says: str,
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("file", "a.zip"):
        Path(name).touch()
    Path("old").mkdir()
    Path("old/config.json").write_text(json.dumps(config_json(TrainConfig())))
    Path("a.tar.gz").write_bytes(gzip.compress(b"x"))
    os.mkfifo("pipe" + Path(words).suffix)
    # Importing it would fail.
    monkeypatch.setitem(sys.modules, "longclip.training.loop", None)
    outcome = run("train", *words.split())
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("longclip: error: ")
    assert says in outcome.err
    assert not Path("runs").exists()


def test_a_directory_of_others_in_the_place_of_the_model_is_told_before_the_first_step(
    run: Run,  # noqa: F811
    options: dict[str, object],
) -> None:
    Path("out/model").mkdir(parents=True)
    Path("out/model/diary.txt").touch()
    outcome = run("train", *flat(options))
    assert outcome.code == 1
    assert "out/model exists and holds no model.safetensors" in outcome.err
    assert "step" not in outcome.err
    assert sorted(path.name for path in Path("out").iterdir()) == ["model"]


def test_measured_before_and_after_a_run_says_both(
    run: Run,  # noqa: F811
    options: dict[str, object],
    walls: Path,
) -> None:
    outcome = run("train", *flat(options | {"--steps": 1, "--evaluate": walls}))
    assert outcome.code == 0, outcome.err
    assert re.search(r"^.* long T2I R@1: [\d.]+ → [\d.]+ %$", outcome.out, re.M)
    assert "out/model: 1 step in " in outcome.out
    assert f"next: longclip eval out/model --data {walls}\n" in outcome.out


def test_the_names_of_columns_hold_for_what_is_measured_too(
    run: Run,  # noqa: F811
    options: dict[str, object],
    walls: Path,
) -> None:
    odd = walls.parent.parent / "odd.jsonl"
    rows = [json.loads(line) for line in walls.read_text().splitlines()]
    odd.write_text(
        "".join(json.dumps({"file": r["image"], "story": r["long"]}) + "\n" for r in rows)
    )
    names: dict[str, object] = {
        "--images": walls.parent,
        "--image-column": "file",
        "--long-column": "story",
    }
    asked = options | names | {"--data": odd, "--steps": 1}
    outcome = run("train", *flat(asked | {"--evaluate": odd}))
    assert outcome.code == 0, outcome.err
    assert " long T2I R@1: " in outcome.out
    told = " ".join(map(str, flat(names)))
    assert f"next: longclip eval out/model --data {odd} {told}\n" in outcome.out
    # Options that a proposed command would refuse are not in it.
    outcome = run("train", *flat(asked | {"--evaluate": "scenes/val", "--out": "other"}))
    assert "next: longclip eval other/model --data scenes/val\n" in outcome.out


def test_recipes_and_switches(run: Run, options: dict[str, object], walls: Path) -> None:  # noqa: F811
    options |= {"--steps": 1, "--recipe": "paper", "--keep": 11}
    assert run("train", *flat(options), "--no-pcm", "--data", walls).code == 0
    config = json.loads(Path("out/config.json").read_text())
    assert (config["pcm"], config["keep"], config["steps"]) == (False, 11, 1)
    assert config["data"] == [str(walls)] * 2
    options |= {"--recipe": "direct", "--out": "direct"}
    assert run("train", *flat(options)).code == 0
    assert json.loads(Path("direct/config.json").read_text())["stretch"] == "linear"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--batch-size": 1}, "--batch-size is 1, must be at least 2"),
        ({"--batch-size": 99}, "smaller --batch-size"),
        ({"--data": "gone.parquet"}, "--data gone.parquet: there is no such file"),
        ({"--scratch": "ViT-XXL"}, "no architecture 'ViT-XXL'"),
        ({"--scratch": None, "--model": "gone"}, "no model 'gone'"),
        ({"--resume": "yes"}, "out holds no run to resume"),
    ],
)
def test_runs_that_cannot_start(
    change: dict[str, object],
    says: str,
    run: Run,  # noqa: F811
    options: dict[str, object],
) -> None:
    words = [word for word in flat(options | change) if word != "yes"]
    outcome = run("train", *words)
    assert (outcome.code, outcome.out) == (1, "")
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--batch-size": 99}, "fewer than one batch of 99; take a smaller --batch-size"),
        ({"--long-column": "story"}, "no column 'story'; its columns are image, short, long"),
        ({"--data": "gone.csv"}, "4 of 4 pictures are not there"),
        ({"--data": "damaged.csv"}, "damaged.csv, line 2"),
    ],
)
def test_what_a_small_table_lacks_is_told_before_the_model_is_loaded(
    change: dict[str, object],
    says: str,
    run: Run,  # noqa: F811
    options: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("longclip.training.loop.initial_model", loaded)
    Path("damaged.csv").write_text("image,text\na.png,A dog,asleep\n")
    Path("gone.csv").write_text("image,text\n" + "".join(f"gone-{i}.png,A dog\n" for i in range(4)))
    outcome = run("train", *flat(options | change))
    assert (outcome.code, outcome.out) == (1, "")
    assert says in outcome.err
    assert not Path("out").exists()


# eval


def test_eval_as_json(run: Run, model: Path, walls: Path) -> None:  # noqa: F811
    words = ("eval", model, "--data", walls, "--batch-size", 5)
    piped = run(*words, "--json", "-")
    assert piped.code == 0
    [result] = piped.json["results"]
    assert result["name"] == str(model)
    assert result["collection"] == "walls/walls"
    assert result["context_length"] == 77
    assert result["images"] == IMAGES
    assert result["bad_images"] == []
    assert (result["long"]["images"], result["long"]["texts"]) == (IMAGES, IMAGES)
    assert (result["short"]["images"], result["short"]["texts"]) == (IMAGES, 2 * IMAGES)
    assert result["long"]["truncated_texts"] == IMAGES
    assert result["short"]["truncated_texts"] == 0
    for kind in ("long", "short"):
        for direction in ("text_to_image", "image_to_text"):
            assert result[kind][direction].keys() == {"R@1", "R@5", "R@10"}
    label = result["zero_shot"]["label"]
    assert (label["images"], label["classes"]) == (IMAGES, 3)

    tables = run(*words, "--json", "deep/results.json")
    assert json.loads(Path("deep/results.json").read_text())["results"] == [result]
    assert "\x1b" not in tables.out
    text = " ".join(tables.out.split())
    for title in (
        f"walls/walls: long descriptions ({IMAGES} images, {IMAGES} texts)",
        f"walls/walls: short captions ({IMAGES} images, {2 * IMAGES} texts)",
        f"walls/walls: zero-shot ({IMAGES} images; top-1 accuracy among (n) classes)",
    ):
        assert title in text
    shown = f"{100 * result['long']['text_to_image']['R@10']:.1f}"
    assert shown in text
    assert f"{IMAGES} long texts were cut to 77 tokens" in text
    assert text.endswith("written: deep/results.json")


def test_eval_measures_what_is_there(run: Run, model: Path, walls: Path) -> None:  # noqa: F811
    captions = walls.parent / "only_captions.jsonl"
    captions.write_text('{"image": "0.png", "alt": "red"}\n{"image": "1.png", "alt": "green"}\n')
    options = ("--data", captions, "--short-column", "alt", "--json", "-")
    [result] = run("eval", model, *options).json["results"]
    assert result["short"]["texts"] == 2
    assert result["long"] is None
    assert result["zero_shot"] == {}


def test_eval_finds_pictures_elsewhere(run: Run, model: Path, walls: Path) -> None:  # noqa: F811
    table = walls.parent.parent / "tables" / "captions.jsonl"
    table.parent.mkdir()
    table.write_text(walls.read_text())
    outcome = run("eval", model, "--data", table)
    assert outcome.code == 1
    assert "tables/captions, row 0: " in outcome.err
    assert "are not there, more than --max-bad-fraction 0.01; name the folder" in outcome.err
    outcome = run("eval", model, "--data", table, "--images", walls.parent, "--json")
    assert f"tables/captions: {IMAGES} pictures; short: short (2 each, median " in outcome.err
    [result] = outcome.json["results"]
    assert result["images"] == IMAGES
    [about] = result["data"]
    assert about["long"]["origin"] == "long"
    assert about["long"]["texts"] == IMAGES


def test_eval_of_several_collections(run: Run, model: Path, walls: Path) -> None:  # noqa: F811
    folder = walls.parent.parent / "classes"
    for name, number in (("red", 0), ("green", 1)):
        (folder / name).mkdir(parents=True)
        (folder / name / "x.png").write_bytes((walls.parent / f"{number}.png").read_bytes())
    found = run("eval", model, "--data", folder, "--data", walls, "--json", "-").json["results"]
    assert [result["collection"] for result in found] == ["classes", "walls/walls"]
    assert found[0]["zero_shot"]["label"]["classes"] == 2
    assert found[0]["long"] is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--data", "gone.jsonl"), "no data 'gone.jsonl'"),
        (("--data", "scenes/tset"), "scenes has no split 'tset'"),
        (("--image-column", "photo"), "no column 'photo'; its columns are image, short, long"),
        (("--device", "nonsense"), "--device nonsense is none that a model can run on"),
        (("--data", "scenes", "--images", "."), "--images is for tables and folders; scenes would"),
        (("--data", "urban1k", "--long-column", "x"), "--long-column is for tables and folders; "),
        (("--suite", "paper"), "--suite paper stands in place of --data"),
    ],
)
def test_evals_that_cannot_start(
    options: tuple[object, ...],
    says: str,
    run: Run,  # noqa: F811
    model: Path,
    walls: Path,
) -> None:
    data = () if "--data" in options else ("--data", walls)
    outcome = run("eval", model, *data, *options)
    assert (outcome.code, outcome.out) == (1, "")
    assert says in outcome.err
    assert "Traceback" not in outcome.err


def test_a_suite_reads_no_folders_of_pictures(run: Run, model: Path) -> None:  # noqa: F811
    outcome = run("eval", model, "--suite", "paper", "--images", ".")
    assert outcome.code == 1
    assert "; benchmarks would not read" in outcome.err


def test_unreadable_pictures_are_told(run: Run, model: Path, tmp_path: Path) -> None:  # noqa: F811
    table = write_walls(tmp_path / "holes", 3)
    (table.parent / "1.png").write_bytes(b"not a picture")
    outcome = run("eval", model, "--data", table)
    assert outcome.code == 1
    assert "1 of 3 images of holes/walls cannot be read" in outcome.err
    assert "holes/walls, row 1: " in outcome.err
