"""Options of a run from a file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from longclip.errors import UsageError
from longclip.training.config_file import read_options_file
from longclip.training.recipes import RECIPES
from longclip.training.run.directory import config_json
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.training import CONFIG


def test_toml_gives_options_in_their_types(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'recipe = "best"\ndata = "a.jsonl"\nimages = ["x", "y"]\nbatch-size = 64\nlr = 1\n'
        'pcm = false\nstretch = "none"\nout = "runs/here"\n'
    )
    assert read_options_file(file) == {
        "recipe": "best",
        "data": ("a.jsonl",),
        "images": (Path("x"), Path("y")),
        "batch_size": 64,
        "lr": 1.0,
        "pcm": False,
        "stretch": "none",
        "out": Path("runs/here"),
    }


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_configuration_of_a_run_gives_the_same_run_elsewhere(
    recipe: str, tmp_path: Path
) -> None:
    config = replace(RECIPES[recipe](), images=(Path("x"),), seed=3, out=tmp_path / "old")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config_json(config)))
    assert replace(config, **read_options_file(file)) == config
    assert "out" not in read_options_file(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bach-size = 8", "there is no option bach-size; did you mean batch-size?"),
        ('batch-size = "8"', "batch-size is '8', must be a whole number"),
        ("batch-size = true", "batch-size is True, must be a whole number"),
        ("lr = false", "lr is False, must be a number"),
        ("pcm = 1", "pcm is 1, must be true or false"),
        ("model = 5", "model is 5, must be a text"),
        ('stretch = "far"', "stretch is 'far', must be one of knowledge-preserved, linear, none"),
        ("data = [5]", "data is 5, must be a text"),
        ("lr = ", "run.toml cannot be read: "),
    ],
)
def test_what_is_no_option_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        read_options_file(tmp_path / "run.toml")
    assert says in str(error.value)


def test_a_list_is_no_file_of_options(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(UsageError, match=r"list\.json holds no options by name; name a TOML file"):
        read_options_file(tmp_path / "list.json")


def test_the_command_line_goes_before_the_file(
    run: Run,  # noqa: F811
    photos: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "architecture.json").write_text(json.dumps(CONFIG))
    Path("run.toml").write_text(
        f'recipe = "direct"\nscratch = "{tmp_path}/architecture.json"\ndata = ["{photos}"]\n'
        'steps = 1\nbatch-size = 8\nworkers = 0\nseed = 5\nout = "out"\n'
    )
    outcome = run("train", "--config", "run.toml", "--batch-size", 4)
    assert outcome.code == 0, outcome.err
    config = json.loads(Path("out/config.json").read_text())
    assert (config["recipe"], config["stretch"]) == ("direct", "linear")
    assert (config["batch_size"], config["seed"]) == (4, 5)
    again = run("train", "--config", "out/config.json", "--out", "again", "--steps", 2)
    assert again.code == 0, again.err
    assert json.loads(Path("again/config.json").read_text())["seed"] == 5
