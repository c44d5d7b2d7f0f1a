"""The command line, run in this process."""

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from longclip.cli import main

COLOURS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (40, 70, 210)}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("tokenize", "a boat", stdin="")`, as `longclip tokenize "a boat"` in an empty folder."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words: object, stdin: str = "") -> Outcome:
        monkeypatch.setattr("sys.argv", ["longclip", *map(str, words)])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        with warnings.catch_warnings():
            # It is just what we want here, and nobody sees it elsewhere.
            warnings.filterwarnings("ignore", message="Cyclopts application invoked without")
            with pytest.raises(SystemExit) as end:
                main()
        return Outcome(int(end.value.code or 0), *capsys.readouterr())

    return run


def write_walls(folder: Path, count: int) -> Path:
    """A JSON-lines file beside pictures of coloured walls, with texts and labels."""
    folder.mkdir(parents=True)
    lines = []
    for i in range(count):
        colour = list(COLOURS)[i % 3]
        picture = Image.new("RGB", (40, 48), COLOURS[colour])
        picture.paste((9 * i, 0, 99), (0, 0, 8 + i, 48))
        picture.save(folder / f"{i}.png")
        row = {
            "image": f"{i}.png",
            "short": [f"a {colour} wall", f"wall number {i}"],
            "long": f"A {colour} wall. " + f"It has a stripe that is {8 + i} wide. " * 9,
            "label": colour,
        }
        lines.append(json.dumps(row) + "\n")
    (folder / "walls.jsonl").write_text("".join(lines))
    return folder / "walls.jsonl"
