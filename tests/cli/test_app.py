"""What all commands have in common."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cyclopts import App

import longclip
from longclip import cli
from longclip.cli import app
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)

COMMANDS = (
    "average",
    "benchmarks",
    "compare",
    "convert",
    "demo",
    "eval",
    "generate",
    "index",
    "inspect",
    "models",
    "prompt",
    "reproduce",
    "runs",
    "search",
    "serve",
    "stretch",
    "tokenize",
    "train",
)


def longclip_process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, behind a pipe."""
    environment = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS")}
    program = "from longclip.cli import main; main()"
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        env=environment,
        **options,
    )


def test_version() -> None:
    assert longclip_process("--version").stdout == f"{longclip.__version__}\n"


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_help_lists_every_command_and_examples(words: tuple[str, ...]) -> None:
    done = longclip_process(*words)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    commands, examples = done.stdout.split("Examples:")
    for name in COMMANDS:
        assert re.search(rf"│ {name} +[A-Z]", commands), name
        assert f" longclip {name} " in examples


def test_commands_are_the_files_of_the_folder() -> None:
    files = {path.stem for path in Path(cli.__file__).parent.glob("[a-z]*.py")}
    assert files - {"options"} == set(COMMANDS)


def parameters(command: App) -> Iterator[tuple[str, str | None]]:
    """Each option as the user writes it, and its help."""
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show:
            yield argument.name, argument.parameter.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    options = dict(parameters(app[name]))
    assert options
    for option, text in options.items():
        assert text, f"{name} {option} has no help"
        assert text.rstrip("]").strip(), option
    shown = longclip_process(name, "--help").stdout
    assert "\x1b" not in shown
    for option in options:
        assert option in shown
    assert f"Example: longclip {name} " in shown
    assert "Examples:" not in shown, "those of other commands"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sketch"], 'Unknown command "sketch"'),
        (["tokenize", "hi", "--length", "9"], "--length"),
        (["tokenize", "hi", "--context-length", "many"], "--context-length"),
        (["stretch", "nano"], "DESTINATION"),
        (["eval"], "MODEL"),
        (["train", "--recipe", "pie"], "pie is none of clip, direct, paper"),
        (["train", "--steps", "soon"], "--steps"),
        (["train", "--precision", "half"], "--precision"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], says: str, run: Run) -> None:  # noqa: F811
    outcome = run(*words)
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    "words", [["eval", "gone"], ["stretch", "gone", "new"], ["train", "--model", "gone"]]
)
def test_a_missing_model_is_a_message_and_exit_code_1(words: list[str], run: Run) -> None:  # noqa: F811
    outcome = run(*words)
    assert outcome.code == 1
    assert outcome.out == ""
    [line] = outcome.err.splitlines()
    assert line.startswith("longclip: error: no model 'gone': it is neither a directory, nor")
    assert list(Path().iterdir()) == [], "nothing is left behind"


def test_what_is_interrupted_says_how_to_go_on(
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr("longclip.evaluation.session.run_session", interrupted)
    before = signal.getsignal(signal.SIGINT)
    outcome = run("eval", "nano", "--data", "scenes/test")
    assert outcome.code == 130
    stopped = outcome.err.splitlines()[-1]
    assert stopped.startswith("longclip: stopped; what is embedded is kept, and the same")
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setenv("RANK", "1")
    outcome = run("eval", "nano", "--data", "scenes/test")
    assert outcome.code == 130
    assert "stopped" not in outcome.err, "of several processes the first says it"


@pytest.mark.parametrize(
    ("words", "early", "late"),
    [
        (
            ["serve", "--db", "db"],
            "longclip.search.query.open.open_searcher",
            "longclip.search.service.serve",
        ),
        (
            ["eval", "nano", "--data", "scenes/test"],
            "longclip.evaluation.session.open_requests",
            "longclip.evaluation.session.run_session",
        ),
    ],
)
def test_an_interrupt_that_an_import_lost_stops_it_before_it_begins(
    words: list[str],
    early: str,
    late: str,
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("lancedb")

    def lost(*_: object, **__: object) -> list[object]:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        return []

    monkeypatch.setattr(early, lost)
    monkeypatch.setattr(late, lambda *_, **__: pytest.fail("it began"))
    assert run(*words).code == 130
    assert run("tokenize", "a boat").code == 0, "the next command knows nothing of it"


def test_no_traceback_and_no_colours_in_a_process_of_its_own() -> None:
    done = longclip_process("tokenize", "a boat", "--context-length", "2")
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"longclip: error: --context-length is 2; .* 248 for .*\n", done.stderr)


def test_a_bug_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def bug() -> None:
        raise KeyError("what?")

    monkeypatch.setattr(cli, "app", bug)
    with pytest.raises(KeyError, match="what"):
        run("tokenize", "hi")


@pytest.mark.parametrize(
    ("setting", "words", "shown"),
    [
        (None, ["--debug"], True),
        ("1", [], True),
        ("0", [], False),
        ("", [], False),
        (None, [], False),
    ],
)
def test_tracebacks_of_messages_for_who_wants_them(
    setting: str | None,
    words: list[str],
    shown: bool,
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LONGCLIP_DEBUG", raising=False)
    if setting is not None:
        monkeypatch.setenv("LONGCLIP_DEBUG", setting)
    outcome = run("inspect", "gone", *words)
    assert outcome.code == 1
    assert ("Traceback" in outcome.err) is shown
    assert outcome.err.splitlines()[-1].startswith("longclip: error: no model 'gone'")


def test_warnings_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def warn() -> None:
        longclip.tokenize("a boat " * 99, 77)
        sys.exit()

    monkeypatch.setattr(cli, "app", warn)
    outcome = run("demo")
    assert re.fullmatch(r"longclip: warning: 1 of 1 texts are longer than 77 .*\n", outcome.err)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_goes_away_is_no_disaster() -> None:
    read, write = os.pipe()
    os.close(read)
    program = "from longclip.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "tokenize", "a boat"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


WITHOUT = """
import sys
from importlib.machinery import PathFinder

hidden, find = sys.argv.pop(1).split(), PathFinder.find_spec
PathFinder.find_spec = staticmethod(
    lambda name, *rest: None if name.partition(".")[0] in hidden else find(name, *rest)
)
from longclip.cli import main
main()
"""
EXTRA_LIBRARIES = "datasets diffusers fastapi lancedb prometheus_client pyarrow ray transformers"


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("search boat --db x", "search"),
        ("index photos --db x", "search"),
        ("index --db x --status", "search"),
        ("serve --db x", "search"),
        ("generate boat --model x --out x.png", "diffusion"),
    ],
)
def test_a_plain_installation_names_the_extra_of_a_command(
    words: str, extra: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, EXTRA_LIBRARIES, *words.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith(f'not installed: pip install "longclip[{extra}]"')
    assert list(tmp_path.iterdir()) == []


def test_a_word_that_no_command_takes_is_explained(run: Run) -> None:  # noqa: F811
    outcome = run("train", "small", "--out", "x")
    assert outcome.code != 0
    assert "train takes no 'small' here" in " ".join(outcome.err.split())


def test_a_run_that_is_both_resumed_and_overwritten_is_refused_before_torch() -> None:
    words = ["train", "--resume", "--overwrite", "--out", "nowhere"]
    code = (
        f"import sys; from longclip.cli import main; sys.argv[1:] = {words}\n"
        "try: main()\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "--resume goes on in a run, --overwrite deletes it" in done.stderr
    assert done.stdout == "False\n"


def test_ctrl_c_while_python_ends_shows_no_traceback() -> None:
    code = (
        "import atexit, os, signal, sys; from longclip.cli import main\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "sys.argv[1:] = ['--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
