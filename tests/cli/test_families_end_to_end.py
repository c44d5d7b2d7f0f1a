"""From a model of another family to a longer one of its own layout, by commands alone."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import longclip
from longclip.spec import ExportTarget
from tests.helpers.cli import Run, run  # noqa: F401
from tests.helpers.other_towers import write_model
from tests.helpers.training import write_photos


@pytest.mark.parametrize(
    ("kind", "length", "to"), [("siglip", 196, "hf"), ("timm", 128, "openclip")]
)
def test_stretch_train_eval_and_convert_back(
    kind: str,
    length: int,
    to: ExportTarget,
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    model, photos = write_model(kind, tmp_path / "base"), write_photos(tmp_path / "photos", 20)
    long, back = tmp_path / "long", tmp_path / "back"
    outcome = run("stretch", str(model), str(long))
    assert outcome.code == 0
    # A text tower that sees its padding is noise at another length, one that does not is none.
    assert ("noise until it is trained" in outcome.err) == (kind == "siglip")
    assert f"{length} (nobody named a number" in (long / "README.md").read_text()

    words = f"train --recipe paper --model {model} --data {photos} --steps 12 --batch-size 10"
    words += (
        f" --lr 3e-3 --pcm-components 4 --workers 0 --log-every 1 --holdout 6 --out {tmp_path}/run"
    )
    outcome = run(*words.split())
    assert outcome.code == 0, outcome.err
    assert f"stretched to {length} tokens" in outcome.err
    assert outcome.err.count("; sigmoid loss") == (kind == "siglip")
    lines = map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    found = [line["loss"] for line in lines if "loss" in line]
    assert found[-1] < 0.7 * found[0]

    trained = tmp_path / "run/model"
    outcome = run("eval", str(trained), "--data", str(photos), "--json")
    assert outcome.code == 0, outcome.err
    assert longclip.load(trained).context_length == length
    assert run("convert", str(trained), str(back), "--to", to).code == 0
    [before], [after] = (folder.glob("*.safetensors") for folder in (trained, back))
    one, two = load_file(before), load_file(after)
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    outcome = run("inspect", str(back), "--against", str(trained))
    assert "the same weights" in outcome.out
