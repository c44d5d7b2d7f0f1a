"""Every field of every configuration is typed and bounded, and named where it is wrong."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import longclip
from longclip.checkpoints import fields
from longclip.checkpoints.fields import check_fields
from longclip.errors import CheckpointError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.model import CLIPConfig, TextConfig
from longclip.model.architectures import ARCHITECTURES
from longclip.model.pretrained import open_checked
from longclip.spec import MAX_CONTEXT
from tests.helpers.models import SMALL, small_clip

TABLES = {
    name: table
    for name, table in vars(fields).items()
    if name.isupper() and isinstance(table, dict) and not name.startswith("_")
}
NONSENSE: list[Any] = [
    float("nan"),
    float("inf"),
    -4,
    4.5,
    "x",
    [],
    [1],
    {"a": "b"},
    10**30,
]


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, rules in TABLES.items() for name in rules]
)
def test_no_field_takes_nonsense(table: str, name: str) -> None:
    allows, allowed = TABLES[table][name]
    # A number may be negative or broken, a name may be any text; nothing takes more than that.
    refused = [value for value in NONSENSE if not allows(value)]
    assert len(refused) >= len(NONSENSE) - 2
    for value in refused:
        with pytest.raises(UsageError, match=rf"^part: {name} .* is not {re.escape(allowed)}$"):
            check_fields({name: value}, TABLES[table], "part")


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_published_shape_is_allowed(name: str) -> None:
    config = ARCHITECTURES[name]
    assert CLIPConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("entry", "value", "says"),
    [
        ("num_attention_heads", -4, "is not a whole number from 1"),
        ("num_attention_heads", 4.0, "4.0 is not a whole number"),
        ("num_attention_heads", True, "True is not a whole number"),
        ("layer_norm_eps", "x", "'x' is not a number from 1e-30 to 1"),
        ("layer_norm_eps", float("nan"), "nan is not a number"),
        ("layer_norm_eps", 0, "0 is not a number"),
        ("layer_norm_eps", -1e-5, "-1e-05 is not a number"),
        ("eos_token_id", "x", "'x' is not a whole number"),
        ("eos_token_id", 49408, "49408 is outside the vocabulary of 49408 tokens"),
        ("num_hidden_layers", 10**9, "1000000000 is not a whole number from 1 to 256"),
        ("vocab_size", 10**9, "1000000000 is not a whole number"),
        ("max_position_embeddings", 10**9, f"is not a whole number from 3 to {MAX_CONTEXT}"),
        ("hidden_act", "swish", "'swish' is not one of quick_gelu, gelu"),
    ],
)
def test_a_field_of_the_text_tower_is_named(
    entry: str, value: object, says: str, model_dir: Path
) -> None:
    path = model_dir / "config.json"
    config = json.loads(path.read_text())
    config["text_config"][entry] = value
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"config\.json: text_config: {entry} .*{says}"):
        open_checked(model_dir)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_std": [float("nan"), 1, 1]}, "image_std .* is not a list of three numbers"),
        ({"image_std": [0, 1, 1]}, "image_std"),
        ({"image_mean": [0.5, 0.5]}, "image_mean .* is not a list of three numbers"),
        ({"rescale_factor": "x"}, "rescale_factor 'x' is not a number"),
        ({"do_resize": 1}, "do_resize 1 is not true or false"),
        ({"size": {"shortest_edge": "x"}}, "size .* is not a whole number from 1 to 4096 or"),
        ({"size": 10**9}, "size 1000000000 is not"),
    ],
)
def test_a_field_of_the_preprocessing_is_named(
    change: dict[str, Any], says: str, model_dir: Path
) -> None:
    path = model_dir / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=rf"preprocessor_config\.json .*: {says}"):
        open_checked(model_dir)


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("vision_cfg", {"head_width": -64}, "vision_cfg: head_width -64 is not"),
        ("vision_cfg", {"mlp_ratio": float("nan")}, "vision_cfg: mlp_ratio nan is not"),
        ("text_cfg", {"context_length": 10**9}, "text_cfg: context_length 1000000000 is not"),
        ("text_cfg", {"heads": "x"}, "text_cfg: heads 'x' is not"),
        (None, {"quick_gelu": "no"}, "model_cfg: quick_gelu 'no' is not true or false or null"),
        (None, {"embed_dim": 1.5}, "model_cfg: embed_dim 1.5 is not"),
    ],
)
def test_a_field_of_openclips_is_named(
    section: str | None, change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    model: dict[str, Any] = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8},
        "text_cfg": {"width": 64, "heads": 1, "layers": 2},
    }
    part = model if section is None else model[section]
    part.update(change)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    with pytest.raises(CheckpointError, match=rf"open_clip_config\.json .*: {re.escape(says)}"):
        open_checked(tmp_path)


def test_an_api_user_gets_the_same_checks() -> None:
    with pytest.raises(UsageError, match="text_config: num_attention_heads -4 is not a whole"):
        TextConfig(num_attention_heads=-4)
    with pytest.raises(UsageError, match=r"std .* must be finite"):
        Preprocess(std=(float("nan"), 1, 1))
    with pytest.raises(UsageError, match="greatest that a model may have"):
        longclip.stretch(small_clip(), 10**9)
    with pytest.raises(UsageError, match="ratio inf"):
        longclip.stretch(small_clip(), 248, ratio=float("inf"))


def test_begin_and_padding_may_be_left_open() -> None:
    """They change nothing that is computed here."""
    config = SMALL.to_json()
    config["text_config"] |= {"bos_token_id": None, "pad_token_id": None}
    assert CLIPConfig.from_json(config) == SMALL


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_brackets_without_end_are_no_configuration(name: str, model_dir: Path) -> None:
    (model_dir / name).write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is not valid JSON"):
        open_checked(model_dir)


def test_pipes_and_devices_in_the_place_of_a_model_are_refused(model_dir: Path) -> None:
    """Each would be waited for, or read without end."""
    os.mkfifo(model_dir / "pipe.safetensors")
    for path in (model_dir / "pipe.safetensors", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match=r"cannot be read: Not a regular file"):
            open_checked(path)
    index = {"weight_map": {"a": "pipe.safetensors"}}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"pipe\.safetensors cannot be read: Not a regular"):
        open_checked(model_dir / "model.safetensors.index.json")
    (model_dir / "config.json").unlink()
    (model_dir / "config.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read: Not a regular file"):
        open_checked(model_dir)


def test_a_position_table_without_rows_is_no_grid(tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in small_clip().state_dict().items()}
    state["vision_model.embeddings.position_embedding.weight"] = torch.zeros(0, 48)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"0 positions, which is not a square grid"):
        open_checked(tmp_path / "a.safetensors")
