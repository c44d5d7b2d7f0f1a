"""A model whose tokenizer is missing is refused before any data is read."""

import json
from pathlib import Path

import pytest
from PIL import Image

import longclip
from longclip.errors import CheckpointError
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.other_towers import write_model

pytest.importorskip("transformers")
pytest.importorskip("lancedb")

MISSING = "model has no tokenizer.json, without which this model's texts have no ids"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_model("siglip", tmp_path / "model")


@pytest.fixture
def incomplete(directory: Path) -> Path:
    (directory / "tokenizer.json").unlink()
    return directory


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Data that fails as soon as it is read."""
    (tmp_path / "photos.jsonl").write_text("{")
    return tmp_path / "photos.jsonl"


@pytest.mark.parametrize("other", [[], ["nano"]])
def test_eval(incomplete: Path, broken: Path, other: list[str], run: Run) -> None:  # noqa: F811
    outcome = run("eval", *other, f"mine={incomplete}", "--data", broken)
    assert outcome.code == 1
    assert MISSING in outcome.err


@pytest.mark.parametrize("option", ["--model", "--scratch"])
def test_train(incomplete: Path, broken: Path, option: str, run: Run) -> None:  # noqa: F811
    source = incomplete if option == "--model" else incomplete / "config.json"
    words = ["--data", broken, "--evaluate", broken, "--out", incomplete.parent / "run"]
    outcome = run("train", option, source, *words)
    assert outcome.code == 1
    assert MISSING in outcome.err
    assert not (incomplete.parent / "run").exists()


def test_index(incomplete: Path, run: Run) -> None:  # noqa: F811
    outcome = run("index", "nowhere.tar", "--db", "db", "--model", incomplete)
    assert outcome.code == 1
    assert MISSING in outcome.err
    assert not Path("db").exists()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("words", [["search", "a dog"], ["serve"]])
def test_search_and_serve(
    directory: Path,
    words: list[str],
    named: bool,
    run: Run,  # noqa: F811
) -> None:
    Path("photos").mkdir()
    Image.new("RGB", (96, 64), "red").save("photos/one.png")
    assert run("index", "photos", "--db", "db", "--model", directory).code == 0
    (directory / "tokenizer.json").unlink()
    outcome = run(*words, "--db", "db", *(["--model", directory] if named else []))
    assert outcome.code == 1
    assert MISSING in outcome.err


def test_the_tokenizer_of_another_model_is_refused(directory: Path) -> None:
    content = json.loads((directory / "tokenizer.json").read_text())
    token = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    longclip.load(directory).check_tokenizer()
    pieces = content["model"]["vocab"]
    pieces += [[f"word{i}", -20.0] for i in range(len(pieces), 49408)]
    for special in (True, False):
        added = {"id": 49408, "content": "<more>", **token, "special": special}
        content["added_tokens"] = [*content["added_tokens"][:4], added]
        (directory / "tokenizer.json").write_text(json.dumps(content))
        model = longclip.load(directory)
        if special:  # never made of a text
            model.check_tokenizer()
            continue
        with pytest.raises(
            CheckpointError,
            match=r"model is another .* up to 49408, and .* vocabulary of 49408 ids",
        ):
            model.check_tokenizer()
