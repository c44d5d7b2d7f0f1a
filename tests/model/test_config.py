"""Configurations that cannot be read name their file."""

import json
from pathlib import Path

import pytest

from longclip.errors import CheckpointError, UsageError
from longclip.model.architectures import ARCHITECTURES, architecture


def test_an_architecture_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ARCHITECTURES["nano"].to_json()))
    assert architecture(str(path)) == architecture("nano")
    with pytest.raises(UsageError, match=r"no architecture 'nona'"):
        architecture("nona")


@pytest.mark.parametrize(
    "changed",
    [
        {"text_config": None},
        {"projection_dim": "wide"},
        {"text_config": {"hidden_size": "wide"}},
        {"vision_config": {"num_attention_heads": 0}},
    ],
)
def test_a_broken_architecture_names_its_file(changed: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "shape.json"
    path.write_text(json.dumps(ARCHITECTURES["nano"].to_json() | changed))
    with pytest.raises(CheckpointError, match=r"shape\.json"):
        architecture(str(path))
    path.write_bytes(b"\xff{")
    with pytest.raises(CheckpointError, match=r"shape\.json is not valid JSON"):
        architecture(str(path))
