"""Options come from one dataclass each, are explained, and are called the same everywhere."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import longclip
from longclip.cli import app
from longclip.cli.compare import CompareOptions
from longclip.cli.convert import ConvertOptions
from longclip.cli.eval import EvalOptions
from longclip.cli.generate import GenerateOptions
from longclip.cli.index import IndexOptions
from longclip.cli.options import in_new_spelling
from longclip.cli.serve import ServeOptions
from longclip.cli.stretch import StretchOptions
from longclip.errors import UsageError
from longclip.options import check_options, option
from longclip.search.config import SearchConfig
from longclip.training.config import TrainConfig
from tests.helpers.cli import Run, run, write_walls  # noqa: F401 (a fixture)
from tests.helpers.models import small_clip

CONFIGS: dict[str, Any] = {
    "compare": CompareOptions,
    "convert": ConvertOptions,
    "eval": EvalOptions,
    "generate": GenerateOptions,
    "index": IndexOptions,
    "search": SearchConfig,
    "serve": ServeOptions,
    "stretch": StretchOptions,
}
WITH_MODEL = ("eval", "generate", "index", "search", "serve", "train")


def arguments(command: str) -> dict[str, Any]:
    found = app[command].assemble_argument_collection(parse_docstring=True)
    return {argument.name: argument for argument in found if argument.show}


@pytest.mark.parametrize("command", CONFIGS)
def test_help_and_defaults_are_those_of_the_dataclass(command: str) -> None:
    by_field = {
        argument.keys[-1]: argument for argument in arguments(command).values() if argument.keys
    }
    fields = {f.name: f for f in dataclasses.fields(CONFIGS[command]) if "help" in f.metadata}
    fields.pop("refresh", None)
    assert by_field.keys() == fields.keys()
    for name, field in fields.items():
        assert by_field[name].parameter.help == field.metadata["help"]
        if field.default is not dataclasses.MISSING:
            assert by_field[name].field_info.default == field.default


@pytest.mark.parametrize(
    ("command", "first", "inherited"),
    [
        ("eval", "--data", "--batch-size"),
        ("index", "--db", "--batch-size"),
        ("serve", "--db", "--host"),
    ],
)
def test_own_options_come_before_inherited_ones(command: str, first: str, inherited: str) -> None:
    names = [name for name in arguments(command) if name.startswith("--")]
    assert names[0] == first
    assert names.index("--device") < names.index(inherited)


def test_train_shows_its_options_in_panels() -> None:
    panels: dict[str, list[str]] = {}
    for name, argument in arguments("train").items():
        [group] = argument.parameter.group or ("Parameters",)
        panels.setdefault(getattr(group, "name", group), []).append(name)
    assert [*panels][1:] == ["Data", "Texts", "Method", "Optimisation", "Running", "Watching"]
    main = {"--recipe", "--model", "--scratch", "--out", "--resume", "--json"}
    assert set(panels["Parameters"]) == main


@pytest.mark.parametrize("command", WITH_MODEL)
def test_every_command_that_runs_a_model_takes_the_same_words(command: str) -> None:
    found = arguments(command)
    assert "auto is CUDA, else MPS where it works, else the CPU" in found["--device"].parameter.help
    assert "auto is " in found["--dtype"].parameter.help
    assert "'float16'" in str(found["--dtype"].hint)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train --precision float32", "train --dtype float32"),
        ("train --precision=float32 --steps 1", "train --dtype=float32 --steps 1"),
        ("eval nano --bfloat16", "eval nano --dtype bfloat16"),
        ("serve --bfloat16 --db x", "serve --dtype bfloat16 --db x"),
        ("eval nano --json a.json", "eval nano --results a.json"),
        ("eval nano --json=a.json", "eval nano --results a.json"),
        ("eval nano --json - --probes", "eval nano --json --probes"),
    ],
)
def test_old_spellings_go_on_working(old: str, new: str) -> None:
    words, warnings = in_new_spelling(old.split())
    assert words == new.split()
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "words", ["eval nano --json", "eval --json nano", "eval -- --bfloat16", ""]
)
def test_new_spellings_stay(words: str) -> None:
    assert in_new_spelling(words.split()) == (words.split(), [])


def test_results_and_json(run: Run, tmp_path: Path) -> None:  # noqa: F811
    longclip.save(small_clip(), tmp_path / "small")
    words = ("eval", tmp_path / "small", "--data", write_walls(tmp_path / "walls", 4))
    outcome = run(*words, "--json", "--results", "results.json", "--dtype", "float32")
    assert outcome.json["results"][0]["images"] == 4
    assert outcome.err.endswith("written: results.json\n")
    tables = run("compare", "results.json", "--json").json["tables"]
    assert [row["model"] for row in tables[0]["rows"]] == [str(tmp_path / "small")]
    old = run(*words, "--bfloat16", "--json", "-")
    assert old.json["results"]
    assert "warning: --bfloat16 is now --dtype bfloat16" in old.err


def test_every_command_has_one_line() -> None:
    for name in ("train", *CONFIGS):
        first, _, _ = app[name].help.partition("\n")
        assert len(first) + max(map(len, CONFIGS)) <= 76


@pytest.mark.parametrize(
    ("bounds", "value", "says"),
    [
        ({"least": 1}, 0, "--my-size is 0, must be at least 1"),
        ({"above": 0}, 0, "--my-size is 0, must be above 0"),
        ({"least": 0, "most": 1}, 2, "--my-size is 2, must be from 0 to 1"),
        ({"above": 0, "most": 1}, 2, "--my-size is 2, must be above 0 and at most 1"),
        ({"least": 0}, float("nan"), "--my-size is nan, must be at least 0"),
    ],
)
def test_bounds(bounds: dict[str, float], value: float, says: str) -> None:
    config = dataclasses.make_dataclass("C", [("my_size", float, option("A size.", 1, **bounds))])
    check_options(config())
    check_options(config(None))
    with pytest.raises(UsageError, match=says):
        check_options(config(value))


def test_runs_of_the_release_before_can_be_resumed(tmp_path: Path) -> None:
    import json

    from longclip.training.run_directory import RunDirectory, config_json, read_config

    config = TrainConfig(out=tmp_path, dtype="float32")
    values = config_json(config)
    values["precision"] = values.pop("dtype")
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert read_config(tmp_path).dtype == "float32"
    RunDirectory(tmp_path).check(config)
