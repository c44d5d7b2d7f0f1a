"""Every model of transformers that has a text and an image tower: read, or refused by its name."""

import json
from pathlib import Path

import pytest

import longclip
from longclip.checkpoints.model_directory import read_config
from longclip.errors import CheckpointError

transformers = pytest.importorskip("transformers")

READ = {"clip", "metaclip_2", "siglip"}


def two_towers() -> list[str]:
    mapping = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    found = []
    for name in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES:
        try:
            parts = getattr(mapping[name], "sub_configs", None) or {}
        except Exception:
            continue
        if {"text_config", "vision_config"} <= parts.keys():
            found.append(name)
    return found


def test_each_model_type_is_read_or_refused(tmp_path: Path) -> None:
    kinds = two_towers()
    assert {*READ, "align", "altclip", "chinese_clip", "siglip2", "clipseg"} <= {*kinds}
    for kind in kinds:
        path = tmp_path / "config.json"
        # As wide and deep as a CLIP: nothing but its name says what it is.
        described = {"model_type": kind, "text_config": {}, "vision_config": {}}
        path.write_text(json.dumps(described))
        if kind in READ:
            assert read_config(path)["model_type"] == "clip"
            continue
        with pytest.raises(CheckpointError, match=f"model_type is '{kind}'.*transformers:"):
            read_config(path)


def test_every_config_that_transformers_writes_of_a_clip_is_read(tmp_path: Path) -> None:
    transformers.CLIPConfig().save_pretrained(tmp_path)
    read_config(tmp_path / "config.json")
    transformers.CLIPTextConfig().save_pretrained(tmp_path)
    read_config(tmp_path / "config.json")
    transformers.CLIPVisionConfig().save_pretrained(tmp_path)
    read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("section", "field"),
    [("text_config", "rope_theta"), ("vision_config", "use_head"), ("", "quantization_config")],
)
def test_a_field_that_is_not_known_is_named(section: str, field: str, model_dir: Path) -> None:
    path = model_dir / "config.json"
    config = json.loads(path.read_text())
    (config[section] if section else config)[field] = {"bits": 8}
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{field} is .*will not ignore"):
        longclip.load(model_dir)


def test_fields_of_generation_in_old_configs_are_no_news(model_dir: Path) -> None:
    path = model_dir / "config.json"
    config = json.loads(path.read_text())
    old = {"num_beams": 1, "bad_words_ids": None, "top_k": 50, "is_decoder": False}
    config["text_config"] |= old
    config["text_config_dict"] = {**config["text_config"], "temperature": 1.0}
    path.write_text(json.dumps(config | {"transformers_version": None, "logit_scale_init": None}))
    longclip.load(model_dir)
