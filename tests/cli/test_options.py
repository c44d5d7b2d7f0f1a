"""Options come from one dataclass each, are explained, and are called the same everywhere."""

import dataclasses
import json
import os
import subprocess
import sys
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
    main = {"--recipe", "--config", "--model", "--scratch", "--out", "--json"}
    assert set(panels["Parameters"]) == main | {"--resume", "--overwrite", "--changed-data"}


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
    from longclip.training.run.directory import RunDirectory, config_json, read_config
    from longclip.util.sealed_json import write_sealed

    config = TrainConfig(out=tmp_path, dtype="float32")
    values = config_json(config)
    values["precision"] = values.pop("dtype")
    write_sealed(tmp_path / "config.json", values)
    assert read_config(tmp_path).dtype == "float32"
    RunDirectory(tmp_path).check(config)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("tokenize --nonsense", "--nonsense is no option here; if it is the text: -- --nonsense"),
        ("prompt --nonsense=1", "--nonsense=1 is no option here"),
        ("search -x --db db", "-x is no option here"),
        ("search boat --not --db db", "--db is no option here; if it is the text: --not=--db"),
        ("search boat --db db -k 1.5", "-k is '1.5', must be a whole number"),
        ("stretch nano new --context-length 248.0", "must be a whole number"),
        ("train --steps 1e3", "--steps is '1e3', must be a whole number"),
        ("index photos --db=", "--db is empty"),
        ("train --out=", "--out is empty"),
        ("eval nano --data=", "--data is empty"),
        ("serve --db db --token=\t", "--token is empty"),
    ],
)
def test_words_that_would_be_taken_for_something_else_are_refused(
    words: str,
    says: str,
    run: Run,  # noqa: F811
) -> None:
    outcome = run(*words.split(" "))
    assert outcome.code == 2
    assert says in " ".join(outcome.err.replace("│", " ").split())
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("text", ["- a boat", "-5 degrees at the lake", "--", "-", "a --boat"])
def test_texts_may_begin_with_a_hyphen(text: str, run: Run) -> None:  # noqa: F811
    words = ["--", text] if text == "--" else [text]
    assert run("tokenize", "--json", *words, stdin="-").code == 0


def test_after_two_hyphens_everything_is_text(run: Run) -> None:  # noqa: F811
    assert "nonsense" in run("tokenize", "--json", "--", "--nonsense").json["read"]


@pytest.mark.parametrize("number", [float("inf"), -float("inf"), float("nan"), 2**53 + 1])
def test_no_option_takes_a_number_that_is_none(number: float) -> None:
    for config in (*CONFIGS.values(), TrainConfig):
        for one in dataclasses.fields(config):
            if one.type not in (int, int | None, float, float | None):
                continue
            if isinstance(number, int) and one.type in (float, float | None):
                continue
            needed = {
                field.name: Path("x") if field.type is Path else "x"
                for field in dataclasses.fields(config)
                if field.default is dataclasses.MISSING
            }
            with pytest.raises(UsageError, match=f"--{one.name.replace('_', '-')} is"):
                config(**needed | {one.name: number})


def test_whole_numbers_are_whole_in_python_too() -> None:
    with pytest.raises(UsageError, match=r"--batch-size is 1\.5, must be a whole number"):
        IndexOptions(db="x", batch_size=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["epochs", "text_lr_scale", "long_weight", "cache_gb", "seed"])
def test_negative_amounts_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match="must be at least 0"):
        TrainConfig(**{option: -1})  # type: ignore[arg-type]


def test_a_text_from_standard_input_that_is_none(
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("longclip.cli.options.MAX_STDIN_CHARACTERS", 5)
    outcome = run("tokenize", "-", stdin="a red boat")
    assert outcome.code == 1
    assert "standard input has more than 5 characters" in outcome.err
    assert run("tokenize", "-", stdin="a red").code == 0


def test_closed_standard_input_and_bytes_that_are_no_text() -> None:
    for redirected, says in (
        ("<&-", "there is no standard input"),
        (r"< <(printf '\xff\xfe')", "standard input is not in the encoding"),
    ):
        program = "from longclip.cli import main; main()"
        done = subprocess.run(
            ["bash", "-c", f'"$0" -c "{program}" tokenize - {redirected}', sys.executable],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONUTF8": "1"},
        )
        assert done.returncode == 1
        assert done.stderr.startswith(f"longclip: error: {says}"), done.stderr


def test_an_output_that_knows_ascii_alone_gets_everything() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}

    def shown(*words: str) -> str:
        program = "from longclip.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            capture_output=True,
            env=environment,
            check=True,
        )
        assert done.stderr == b""
        return done.stdout.decode("ascii")

    assert "Examples:" in shown("--help")
    assert "lighthouse" in shown("prompt", "A lighthouse … at dusk")
    text = "Ein Café – 港 🚤"
    assert json.loads(shown("tokenize", text, "--json"))["read"].split()[1] == "café"


@pytest.mark.parametrize("words", [("--recipe", "best"), ("--recipe=best",), ()])
def test_help_of_train_shows_the_values_of_the_chosen_recipe(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "longclip", "train", *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    share = "0.25" if words else "0.0"
    shown = " ".join(done.stdout.replace("│", " ").split())
    assert f"training started from; its share. [{share} *]" in shown
    assert "that stretching keeps, and training leaves frozen. [20]" in shown


def test_a_model_and_random_weights_are_not_both_taken(run: Run) -> None:  # noqa: F811
    outcome = run("train", "--scratch", "nano", "--model", "gone")
    assert outcome.code == 1
    assert "--scratch starts without a model; leave out --model or --scratch" in outcome.err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"learn": "txt"}, "--learn is 'txt', must be one of 'all', 'image', 'text', 'positions'"),
        ({"stretch": "longer"}, "--stretch is 'longer', must be one of 'knowledge-preserved'"),
        ({"data": "a.jsonl"}, r"--data is 'a.jsonl', must be a tuple, of one too: \('a.jsonl',\)"),
        ({"images": "pictures"}, "--images is 'pictures', must be a tuple"),
        ({"out": "runs/a"}, r"--out is 'runs/a', must be a path: Path\('runs/a'\)"),
        ({"batch_size": "40"}, "--batch-size is '40', must be a number"),
        ({"pcm": "no"}, "--pcm is 'no', must be a number or True or False"),
    ],
)
def test_values_of_another_kind_are_refused_in_python_too(
    change: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        dataclasses.replace(TrainConfig(), **change)


@pytest.mark.parametrize(
    "words",
    [
        "train --data data --scratch small --out out",
        "eval nano --data data",
        "index data --db out.db",
    ],
)
def test_nobody_gets_thousands_of_workers(words: str, run: Run, tmp_path: Path) -> None:  # noqa: F811
    outcome = run(*words.split(), "--workers", 5000)
    assert outcome.code == 1
    assert "--workers" in outcome.err
    assert "256" in outcome.err
