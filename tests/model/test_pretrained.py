"""Models to directories and back, and directories that are wrong."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.checkpoints import write
from longclip.errors import CheckpointError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP, CLIPConfig, TextConfig
from tests.helpers.models import SMALL, small_clip

TEXTS = ["a red boat", "two dogs on a bridge at dusk"]
FILES = {
    "config.json",
    "merges.txt",
    "model.safetensors",
    "modules.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
}


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = dict(load_file(directory / "model.safetensors"))
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def assert_same_weights(found: CLIP, expected: dict[str, torch.Tensor]) -> None:
    state = found.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert state[name].dtype == value.dtype, name
        assert torch.equal(state[name], value), name


# Round trips


def test_what_is_saved_is_loaded(saved: Path) -> None:
    model, found = small_clip(), longclip.load(saved)
    assert found.config == model.config
    assert found.preprocess == model.preprocess
    assert_same_weights(found, model.state_dict())
    assert torch.equal(found.encode_text(TEXTS), model.encode_text(TEXTS))
    assert {path.name for path in saved.iterdir()} == FILES


def test_a_loaded_model_is_ready_for_inference_and_for_training(saved: Path) -> None:
    model = longclip.load(saved)
    assert not model.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in model.parameters())
    features = model.text_features(longclip.tokenize(TEXTS))
    features.sum().backward()
    assert model.text_projection.weight.grad is not None


def test_stored_in_bfloat16(tmp_path: Path) -> None:
    model = small_clip()
    longclip.save(model, tmp_path / "model", dtype=torch.bfloat16)
    assert model.dtype == torch.float32, "the model itself stays as it is"
    rounded = {name: value.bfloat16() for name, value in model.state_dict().items()}
    assert_same_weights(longclip.load(tmp_path / "model", dtype=None), rounded)
    widened = {name: value.float() for name, value in rounded.items()}
    assert_same_weights(longclip.load(tmp_path / "model"), widened)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"


def test_a_model_keeps_its_type_unless_told_otherwise(tmp_path: Path) -> None:
    longclip.save(small_clip().to(torch.float16), tmp_path / "model")
    assert longclip.load(tmp_path / "model", dtype=None).dtype == torch.float16
    assert longclip.load(tmp_path / "model").dtype == torch.float32
    assert longclip.load(tmp_path / "model", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_stretched_model_with_its_own_preprocessing(tmp_path: Path) -> None:
    model = longclip.stretch(small_clip(), 120)
    model.preprocess = Preprocess(image_size=32, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    longclip.save(model, tmp_path / "deep" / "model")
    found = longclip.load(tmp_path / "deep" / "model")
    assert found.context_length == 120
    assert found.preprocess == model.preprocess


def test_config_says_the_context_length_wherever_readers_look(tmp_path: Path) -> None:
    longclip.save(longclip.stretch(small_clip()), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    tokenizer = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert config["max_length"] == config["text_config"]["max_length"] == 248
    assert config["text_config"]["max_position_embeddings"] == 248
    assert tokenizer["model_max_length"] == 248
    assert config["architectures"] == ["CLIPModel"]
    assert config["dtype"] == "float32"


def test_configs_of_every_kind_come_back() -> None:
    gelu = replace(
        SMALL,
        text=replace(SMALL.text, hidden_act="gelu", layer_norm_eps=1e-6, vocab_size=50_000),
        text_projection_bias=True,
        logit_scale_init_value=1.25,
    )
    for config in (SMALL, gelu, CLIPConfig()):
        assert CLIPConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_projection_with_a_bias(tmp_path: Path) -> None:
    model = small_clip(replace(SMALL, text_projection_bias=True))
    longclip.save(model, tmp_path / "model")
    assert_same_weights(longclip.load(tmp_path / "model"), model.state_dict())


# Saving


def test_a_failure_while_saving_leaves_the_old_model(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in model_dir.iterdir()}

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(write, "write_tokenizer_files", full_disk)
    for target in (model_dir, model_dir.parent / "new"):
        with pytest.raises(OSError, match="no space left"):
            longclip.save(small_clip(seed=1), target)
    assert {path.name: path.read_bytes() for path in model_dir.iterdir()} == before
    assert [path.name for path in model_dir.parent.iterdir()] == ["model"]


def test_a_model_is_replaced_even_by_what_was_read_from_it(model_dir: Path) -> None:
    model = longclip.load(model_dir, dtype=None)
    longclip.save(longclip.stretch(model), model_dir)
    assert longclip.load(model_dir).context_length == 248
    assert {path.name for path in model_dir.iterdir()} == FILES
    assert [path.name for path in model_dir.parent.iterdir()] == ["model"]


def test_what_lies_beside_a_model_is_not_removed_with_it(model_dir: Path) -> None:
    (model_dir / "photos").mkdir()
    (model_dir / "notes.txt").write_text("mine")
    before = {path.name for path in model_dir.iterdir()}
    with pytest.raises(FileExistsError, match=r"holds notes\.txt, photos beside a model"):
        longclip.save(small_clip(), model_dir)
    assert {path.name for path in model_dir.iterdir()} == before


def test_a_training_run_is_not_taken_for_a_model(tmp_path: Path) -> None:
    """Both have a config.json."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "checkpoint.pt"):
        (run / name).write_text("{}")
    with pytest.raises(FileExistsError, match=r"holds no model\.safetensors.*name a new dir"):
        longclip.save(small_clip(), run)
    assert {path.name for path in run.iterdir()} == {"config.json", "checkpoint.pt"}


# Directories of others


def test_shards(model_dir: Path) -> None:
    tensors = load_file(model_dir / "model.safetensors")
    weight_map = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(sorted(tensors))}
    for shard in set(weight_map.values()):
        part = {name: tensors[name] for name, place in weight_map.items() if place == shard}
        save_file(part, model_dir / shard)
    (model_dir / "model.safetensors").unlink()
    index = model_dir / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    assert_same_weights(longclip.load(model_dir), tensors)


def test_position_ids_of_old_versions_are_ignored(model_dir: Path) -> None:
    edit_weights(
        model_dir,
        lambda tensors: tensors.update(
            {
                "text_model.embeddings.position_ids": torch.arange(77)[None],
                "vision_model.embeddings.position_ids": torch.arange(17)[None],
            }
        ),
    )
    assert_same_weights(longclip.load(model_dir), small_clip().state_dict())


@pytest.mark.parametrize("eos", [2, None], ids=["legacy id 2", "left out"])
def test_the_legacy_end_of_text_id(eos: int | None, model_dir: Path) -> None:
    def legacy(config: dict[str, Any]) -> None:
        text = config["text_config"]
        text |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": eos}
        if eos is None:
            del text["eos_token_id"]

    edit_json(model_dir / "config.json", legacy)
    model = longclip.load(model_dir)
    assert model.config == SMALL
    assert torch.equal(model.encode_text(TEXTS), small_clip().encode_text(TEXTS))


def test_a_vocabulary_of_another_size_keeps_its_own_end() -> None:
    values = {"vocab_size": 1000, "eos_token_id": 2}
    assert TextConfig.from_json(values).eos_token_id == 999
    assert TextConfig.from_json(values | {"eos_token_id": 7, "pad_token_id": 0}).eos_token_id == 7


def test_entries_that_do_not_change_the_network_are_passed_over(model_dir: Path) -> None:
    def decorate(config: dict[str, Any]) -> None:
        config |= {"transformers_version": "4.5.0", "initializer_factor": 1.0}
        config["vision_config"] |= {"dropout": 0.0, "id2label": {"0": "x"}}

    edit_json(model_dir / "config.json", decorate)
    assert longclip.load(model_dir).config == SMALL


def test_what_a_config_leaves_out_is_the_default_of_transformers() -> None:
    """Some versions of transformers write only what differs from their defaults."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPConfig().to_dict()
    sparse = {"model_type": "clip", "text_config": {}, "vision_config": {}}
    assert CLIPConfig.from_json(sparse).vision == CLIPConfig.from_json(theirs).vision


def test_without_preprocessing_it_is_that_of_openai(model_dir: Path) -> None:
    (model_dir / "preprocessor_config.json").unlink()
    assert longclip.load(model_dir).preprocess == Preprocess(image_size=32)


# Directories that are wrong


@pytest.mark.parametrize(
    ("section", "entry", "value", "says"),
    [
        ("text_config", None, None, "no 'text_config'.*model_type is 'clip'"),
        ("vision_config", None, [], "no 'vision_config'"),
        ("text_config", "hidden_act", "relu", "hidden_act 'relu' is not one of quick_gelu, gelu"),
        ("vision_config", "num_attention_heads", 5, "not divisible by num_attention_heads 5"),
        ("vision_config", "image_size", 33, "image_size 33 is not a multiple of patch_size 8"),
        ("text_config", "num_attention_heads", 0, ""),
        ("text_config", "hidden_size", -32, ""),
        ("text_config", "hidden_size", "32", ""),
        ("text_config", "num_hidden_layers", 1.5, ""),
        ("vision_config", "patch_size", 0, ""),
    ],
)
def test_an_impossible_config(
    section: str, entry: str | None, value: object, says: str, model_dir: Path
) -> None:
    def change(config: dict[str, Any]) -> None:
        if entry is None:
            config[section] = value
        else:
            config[section][entry] = value

    edit_json(model_dir / "config.json", change)
    with pytest.raises(CheckpointError, match=rf"model/config\.json: .*{says}"):
        longclip.load(model_dir)


def test_a_config_that_lies_about_shapes(model_dir: Path) -> None:
    edit_json(model_dir / "config.json", lambda c: c["text_config"].update(intermediate_size=65))
    with pytest.raises(CheckpointError) as error:
        longclip.load(model_dir)
    lines = str(error.value).splitlines()
    assert lines[0] == f"the weights in {model_dir} do not fit its config.json:"
    layer = "text_model.encoder.layers.0.mlp"
    assert f"  {layer}.fc1.weight is [64, 32], config.json says [65, 32]" in lines
    assert len(lines) == 1 + 2 * 3, "the fc2 biases fit"


def test_missing_and_unknown_weights_are_listed(model_dir: Path) -> None:
    def damage(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["visual_projection.weight"]
        tensors["text_model.surprise"] = torch.zeros(1)
        tensors["logit_scale"] = torch.tensor(4)

    edit_weights(model_dir, damage)
    with pytest.raises(CheckpointError) as error:
        longclip.load(model_dir)
    assert str(error.value).splitlines()[1:] == [
        "  missing: visual_projection.weight",
        "  unknown: text_model.surprise",
        "  logit_scale holds int64, not floating-point numbers",
    ]


@pytest.mark.parametrize("scale", [float("inf"), float("nan"), 1000.0])
def test_a_temperature_that_is_no_number(scale: float, model_dir: Path) -> None:
    weights = load_file(model_dir / "model.safetensors")
    weights["logit_scale"] = torch.tensor(scale)
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"logit_scale is .* no finite number"):
        longclip.load(model_dir)


def test_a_long_list_of_problems_is_cut(model_dir: Path) -> None:
    edit_weights(model_dir, lambda tensors: tensors.clear() or tensors.update(a=torch.ones(1)))
    with pytest.raises(CheckpointError, match=r"… and \d+ more$") as error:
        longclip.load(model_dir)
    assert len(str(error.value).splitlines()) == 22


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": {"shortest_edge": 64}}, "not the same square"),
        ({"size": 64, "crop_size": 64}, "makes pictures of 64 pixels, config.json says 32"),
        ({"image_mean": None}, "not CLIP's preprocessing"),
        ({"image_std": ["a", "b", "c"]}, "not CLIP's preprocessing"),
        ({"resample": 0}, "resample is 0"),
    ],
)
def test_preprocessing_that_does_not_fit(
    change: dict[str, object], says: str, model_dir: Path
) -> None:
    edit_json(model_dir / "preprocessor_config.json", lambda values: values.update(change))
    with pytest.raises(CheckpointError, match=rf"model/preprocessor_config\.json .*{says}"):
        longclip.load(model_dir)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_incomplete_directories(name: str, model_dir: Path) -> None:
    (model_dir / name).unlink()
    with pytest.raises(CheckpointError, match=rf"model.*{name}"):
        longclip.load(model_dir)


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model 'nanno': .*bundled model \(nano\)"):
        longclip.load("nanno")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"safetensors is not a complete safetensors file"):
        longclip.load(tmp_path / "model.safetensors")


def test_no_such_tower_or_dtype(saved: Path) -> None:
    with pytest.raises(UsageError, match="tower 'txt' is none of text, image"):
        longclip.load(saved, tower="txt")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"dtype torch\.int8 holds no weights"):
        longclip.load(saved, dtype=torch.int8)
    with pytest.raises(UsageError, match="dtype 'bfloat16' holds no weights"):
        longclip.load(saved, dtype="bfloat16")  # type: ignore[arg-type]


def test_no_such_device(saved: Path) -> None:
    with pytest.raises(ValueError, match="device 'nonsense' cannot be used"):
        longclip.load(saved, device="nonsense")


def test_a_directory_called_like_a_bundled_model(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / "nano")
    for path in ("./nano", Path("nano")):
        assert longclip.load(path).config == SMALL


@pytest.mark.parametrize("given", ["runs/paper/model", Path("runs"), None, {}])
def test_what_is_no_model_is_refused_by_the_name_of_the_call(given: Any, tmp_path: Path) -> None:
    calls: dict[str, Callable[[], object]] = {
        "stretch": lambda: longclip.stretch(given),
        "average": lambda: longclip.average(small_clip(), given, 0.5),
        "save": lambda: longclip.save(given, tmp_path / "saved"),
    }
    for name, call in calls.items():
        with pytest.raises(UsageError, match=f"{name} takes a CLIP .*, not .*; longclip.load"):
            call()
    if given in (None, {}):
        with pytest.raises(UsageError, match="load takes the path or name of a model, not"):
            longclip.load(given)


@pytest.mark.parametrize("kind", [["clip"], {}, 7])
def test_a_kind_of_model_that_is_no_text(kind: object, saved: Path) -> None:
    edit_json(saved / "config.json", lambda config: config.update(model_type=kind))
    for place in (saved, saved / "model.safetensors"):
        with pytest.raises(CheckpointError, match=r"config\.json: model_type .* is not a text"):
            longclip.load(place)
