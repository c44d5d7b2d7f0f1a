"""`longclip models`, and short names wherever a command takes a model."""

import json
from pathlib import Path

import pytest

from longclip.checkpoints.catalogue import known_models
from longclip.model.pretrained import bundled_path
from tests.helpers.cli import Run, run, write_walls  # noqa: F401 (a fixture)

MODELS = known_models()
HUB = "openai/clip-vit-base-patch16"


@pytest.mark.parametrize("columns", [50, 80, 130, 200])
def test_the_list_fits(columns: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("models").out.splitlines()
    names = [line.split()[0] for line in lines if line]
    assert [model.name for model in MODELS if model.name not in names] == []
    known = {model.name for model in MODELS}
    rows = [line for line in lines if line and line.split()[0] in known]
    assert max(map(len, rows)) <= columns
    [long] = [line for line in rows if line.startswith("LongCLIP-L ")]
    assert long.split()[1:4] == ["248", "224", "768"]
    assert ("82.7/86.1" in long) is (columns >= 80)
    assert ("BeichenZhang/LongCLIP-L" in long) is (columns >= 150)


def test_behind_a_pipe_a_line_holds_everything(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.delenv("COLUMNS", raising=False)
    out = run("models").out
    for model in MODELS:
        [line] = [line for line in out.splitlines() if line.startswith(f"{model.name} ")]
        for text in (model.hub, model.licence or "not stated", model.good_for):
            assert text in line
    [pe] = [line for line in out.splitlines() if line.startswith("PE-Core-B-16 ")]
    assert pe.split()[1:5] == ["32", "224", "1024", "–/50.9"]


@pytest.mark.parametrize("name", ["LongCLIP-L", "longclip-l", "BeichenZhang/LongCLIP-L"])
def test_one_in_full(name: str, run: Run) -> None:  # noqa: F811
    out = " ".join(run("models", name).out.split())
    assert "huggingface.co/BeichenZhang/LongCLIP-L licence Apache-2.0 texts 248 tokens" in out
    assert "Urban-1k: image_to_text R@1 82.7, text_to_image R@1 86.1 (the Long-CLIP" in out
    assert "COCO: image_to_text R@1 62.8, text_to_image R@1 46.3 (Zhang et al." in out
    assert "longclip.load('LongCLIP-L')" in out
    assert "longclip stretch" not in out  # it reads 248 tokens as it is
    assert "longclip stretch ViT-B/16 runs/long" in run("models", "vit-b/16").out


def test_what_the_images_of_a_family_need_is_said(run: Run) -> None:  # noqa: F811
    assert 'for images: pip install "longclip[openclip]"' in run("models", "EVA02-B-16").out
    assert "pip install" not in run("models", "LAION2B-B-16").out
    assert run("models", "SigLIP2-B-16-224", "--json").json["extra"] == "siglip"


def test_search_and_family(run: Run) -> None:  # noqa: F811
    names = [row["name"] for row in run("models", "384", "--family", "siglip2", "--json").json]
    assert "SigLIP2-B-16-384" in names
    assert all("SigLIP2" in name and "384" in name for name in names)
    prompts = run("models", "Stable Diffusion", "--json").json
    assert "LAION2B-H-14" in [row["name"] for row in prompts]
    of_one = run("models", "--family", "PE-Core", "--json").json
    assert len(of_one) == 5


def test_json_of_all(run: Run) -> None:  # noqa: F811
    rows = run("models", "--json").json
    assert [row["name"] for row in rows] == [model.name for model in MODELS]
    one = run("models", "ViT-B/16", "--json").json
    assert one in rows
    assert one["published"]["urban1k"]["text_to_image R@1"] == 53.6
    assert (one["hub"], one["context"], one["licence"]) == (HUB, 77, "MIT")
    assert "5,000" in rows[0]["published"]["coco"]["source"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["logclip-l"], "no model is called 'logclip-l'"),
        (["logclip-l"], "did you mean LongCLIP-L"),
        (["zzz"], "`longclip models` lists all"),
        (["zzz", "--family", "DFN"], "no model in the family DFN"),
        (["--family", "cilp"], "--family cilp is none of CLIP, Long-CLIP"),
    ],
)
def test_what_is_not_there(words: list[str], says: str, run: Run) -> None:  # noqa: F811
    outcome = run("models", *words)
    assert outcome.code == 1
    assert says in outcome.err


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names asked of the hub, which has nano under every one."""
    asked: list[str] = []

    def fetch(name: str, revision: str | None = None) -> Path:
        asked.append(name)
        return bundled_path("nano")

    monkeypatch.setattr("longclip.model.pretrained.fetch", fetch)
    monkeypatch.setattr("longclip.training.run.model.fetch", fetch)
    return asked


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "vit-b/16"),
        ("inspect", "nano", "--against", "vit-b/16"),
        ("tokenize", "a boat", "--model", "vit-b/16"),
        ("convert", "vit-b/16", "new", "--json"),
        ("stretch", "vit-b/16", "new", "--json"),
        ("average", "vit-b/16", "nano", "new", "--json"),
        ("eval", "vit-b/16", "mine=vit-b/16", "--data", "DATA", "--no-cache", "--json"),
    ],
)
def test_commands_take_short_names_and_say_what_they_stand_for(
    words: tuple[str, ...],
    run: Run,  # noqa: F811
    fetched: list[str],
    tmp_path: Path,
) -> None:
    data = str(write_walls(tmp_path / "walls", 6))
    outcome = run(*(data if word == "DATA" else word for word in words))
    assert outcome.code == 0, outcome.err
    assert set(fetched) == {HUB}
    assert f"vit-b/16 is {HUB}\n" in outcome.err
    assert "vit-b/16" not in outcome.out
    if "--json" in words:
        assert HUB in outcome.out
    if words[0] == "stretch":
        assert HUB in Path("new/README.md").read_text()
    if words[0] == "eval":
        assert [row["name"] for row in outcome.json["results"]] == [HUB, "mine"]


def test_a_run_keeps_the_full_name(run: Run, fetched: list[str], tmp_path: Path) -> None:  # noqa: F811
    data = write_walls(tmp_path / "walls", 6)
    words = ("--data", data, "--out", "run", "--steps", 1, "--batch-size", 4)
    outcome = run("train", "--recipe", "direct", "--model", "ViT-B/16", *words)
    assert outcome.code == 0, outcome.err
    assert set(fetched) == {HUB}
    assert f"ViT-B/16 is {HUB}\n" in outcome.err
    assert json.loads(Path("run/config.json").read_text())["model"] == HUB
    assert f"base_model: {HUB}" in Path("run/model/README.md").read_text()


def test_a_database_keeps_the_full_name(run: Run, fetched: list[str], tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("lancedb")
    from longclip.search.database.reader import Reader

    write_walls(tmp_path / "walls", 3)
    outcome = run("index", tmp_path / "walls", "--db", "db", "--model", "ViT-B/16")
    assert outcome.code == 0, outcome.err
    assert Reader.open("db").about.model == HUB
    assert run("search", "a wall", "--db", "db", "--model", "vit-b/16").code == 0
    assert set(fetched) == {HUB}
