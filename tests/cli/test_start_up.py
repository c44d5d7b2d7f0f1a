"""What a command imports before it answers, and what it does without.

Times are measured by `benchmarks/cold_start.py`.
"""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import longclip
from longclip.cli import _GROUPS, app
from longclip.model.pretrained import AssumptionWarning
from tests.helpers.models import small_clip

SHARED = {"eval": ("compare",)}
"""Commands that have options of another."""

COMMANDS = [name for names in _GROUPS.values() for name in names]
HEAVY = ("torch", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub", "pyarrow")
HEAVY += ("lancedb", "pandas", "transformers", "datasets", "pydantic", "jinja2", "fsspec")
UNUSED_BY_SEARCH = ("torch", "pandas", "safetensors", "transformers", "datasets", "urllib3")
UNUSED_BY_SEARCH += ("pyarrow.dataset", "pyarrow.compute", "lance_namespace_urllib3_client")
UNUSED_BY_SEARCH += ("fastapi", "ray", "httpx", "requests", "longclip.training")

UNUSED = ("safetensors", "jinja2", "datasets", "transformers")
"""Libraries that the documents say a machine needs not which only searches."""

_PROGRAM = """
import json, sys
hidden, words = json.loads(sys.argv[1])
class Hidden:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from longclip.cli import main
sys.argv = ["longclip", *words]
try:
    main()
finally:
    with open(sys.orig_argv[-1], "w") as file:
        json.dump(sorted(sys.modules), file)
"""


@dataclass(frozen=True)
class Ran:
    out: str
    err: str
    modules: frozenset[str]

    def imported(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if name in self.modules]


def run(place: Path, *words: object, hidden: tuple[str, ...] = (), code: int = 0) -> Ran:
    """Run a command in a process of its own, which has not the libraries `hidden`."""
    stated = json.dumps([hidden, list(map(str, words))])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, stated, str(place / "modules.json")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_CACHE_HOME": str(place / "cache"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == code, done.stderr
    return Ran(
        done.stdout, done.stderr, frozenset(json.loads((place / "modules.json").read_text()))
    )


def test_help_imports_no_command(tmp_path: Path) -> None:
    ran = run(tmp_path, "--help")
    commands = tuple(f"longclip.cli.{name}" for name in COMMANDS)
    assert ran.imported((*commands, *HEAVY)) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_that_command_alone(tmp_path: Path, command: str) -> None:
    ran = run(tmp_path, command, "--help")
    own = {command, *SHARED.get(command, ())}
    others = tuple(f"longclip.cli.{name}" for name in COMMANDS if name not in own)
    heavy = tuple(name for name in HEAVY if name != "fsspec")
    assert ran.imported((*others, *heavy)) == []
    assert f"Usage: longclip {command}" in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_the_docstring(command: str) -> None:
    """It is read from the source without importing it."""
    resolved = app[command]
    function = resolved.default_command
    assert function is not None
    assert function.__name__ == f"{command}_command"
    docstring = (function.__doc__ or "").partition("\n\n    Parameters\n")[0]
    assert resolved.help.split() == docstring.split()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases made with nano, and with a model that is a single file of torch."""
    pytest.importorskip("lancedb")
    place = tmp_path_factory.mktemp("photos")
    (place / "photos").mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (40, 30), name).save(place / "photos" / f"{name}.png")
    import torch

    from longclip.search import index

    torch.save(small_clip().state_dict(), place / "model.pt")
    for model, name in (("nano", "nano.db"), (str(place / "model.pt"), "file.db")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AssumptionWarning)
            loaded = longclip.load(model)
        index([place / "photos"], place / name, loaded, model_name=model)
    return place


@pytest.mark.parametrize("more", [(), ("--image", "red.png"), ("--where", "width > 9")])
def test_a_search_imports_what_it_uses(tmp_path: Path, photos: Path, more: tuple[str, ...]) -> None:
    more = tuple(str(photos / "photos" / word) if word == "red.png" else word for word in more)
    ran = run(tmp_path, "search", "A red wall. It rains.", "--db", photos / "nano.db", *more)
    assert ran.imported(UNUSED_BY_SEARCH) == []
    assert "red.png" in ran.out


def test_a_search_finds_the_same_as_with_torch(tmp_path: Path, photos: Path) -> None:
    words = ("search", "A red wall. It rains.", "--db", photos / "nano.db", "--json")
    found = [
        json.loads(run(tmp_path, *words, *more).out)
        for more in ((), ("--engine", "torch"), ("--image", photos / "photos" / "red.png"))
    ]
    light, torchs, _ = found
    assert [hit["uri"] for hit in light["hits"]] == [hit["uri"] for hit in torchs["hits"]]
    for one, other in zip(light["hits"], torchs["hits"], strict=True):
        assert one["similarity"] == pytest.approx(other["similarity"], abs=1e-5)
        assert one["sentences"] == pytest.approx(other["sentences"], abs=1e-3)


def test_what_numpy_does_not_read_is_computed_by_torch(tmp_path: Path, photos: Path) -> None:
    ran = run(tmp_path, "search", "A red wall.", "--db", photos / "file.db")
    assert "torch" in ran.modules
    ran = run(tmp_path, "search", "A wall.", "--db", photos / "nano.db", "--dtype", "bfloat16")
    assert "torch" in ran.modules


def test_what_needs_no_torch_works_where_there_is_none(tmp_path: Path, photos: Path) -> None:
    def without(*words: object) -> str:
        return run(tmp_path, *words, hidden=("torch", "pandas", *UNUSED)).out

    assert "red.png" in without("search", "A red wall.", "--db", photos / "nano.db")
    assert "red.png" in without(
        "search", "--image", photos / "photos" / "red.png", "--db", photos / "nano.db"
    )
    assert "LongCLIP-L" in without("models")
    assert "5 tokens of 77" in without("tokenize", "a red boat")
    assert longclip.__version__ in without("--version")
    assert "lighthouse" in without("--help")


def test_what_needs_torch_says_so_where_there_is_none(tmp_path: Path, photos: Path) -> None:
    ran = run(tmp_path, "search", "A wall.", "--db", photos / "file.db", hidden=("torch",), code=1)
    assert ran.out == ""
    assert ran.err.startswith("longclip: error: ")
    assert "needs torch, which is not installed: pip install torch" in ran.err
    ran = run(tmp_path, "stretch", "nano", tmp_path / "long", hidden=("torch",), code=1)
    assert ran.err == (
        "longclip: error: this command needs torch, which is not installed: pip install torch\n"
    )
