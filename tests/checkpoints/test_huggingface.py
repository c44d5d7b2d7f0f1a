"""Reading and writing the files of a model directory."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from longclip.checkpoints.config import read_json, write_json
from longclip.checkpoints.formats.huggingface import dtype_name, read_weights
from longclip.checkpoints.model_directory import INDEX, WEIGHTS, weight_files
from longclip.checkpoints.tensor_files import write_safetensors
from longclip.errors import CheckpointError

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.tensor(2.5, dtype=torch.bfloat16),
    "c": torch.arange(3),
}


def write_shards(directory: Path, weight_map: object) -> None:
    save_file({"a": TENSORS["a"]}, directory / "model-00001-of-00002.safetensors")
    save_file({k: TENSORS[k] for k in "bc"}, directory / "model-00002-of-00002.safetensors")
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def assert_same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    write_safetensors(
        tmp_path / WEIGHTS, {**TENSORS, "a": TENSORS["a"].T.contiguous().T.requires_grad_()}
    )
    assert_same(read_weights(weight_files(tmp_path)))
    with safe_open(tmp_path / WEIGHTS, "pt") as file:
        assert file.metadata()["format"] == "pt", "transformers refuses files without it"


def test_shards(tmp_path: Path) -> None:
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    write_shards(tmp_path, {"a": first, "b": second, "c": second})
    assert_same(read_weights(weight_files(tmp_path)))


def test_a_whole_file_goes_before_shards(tmp_path: Path) -> None:
    write_safetensors(tmp_path / WEIGHTS, TENSORS)
    (tmp_path / INDEX).write_text("left over")
    assert_same(read_weights(weight_files(tmp_path)))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": "model-00003-of-00003.safetensors"})
    with pytest.raises(CheckpointError, match=r"00003\.safetensors is missing though the index"):
        read_weights(weight_files(tmp_path))


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "sub/inside.safetensors",
        "/etc/passwd",
        "..",
        ".",
        "",
        "config.json",
        "pickle.bin",
        7,
        None,
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(shard: object, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    (directory / "sub").mkdir(parents=True)
    for place in (tmp_path / "outside.safetensors", directory / "sub" / "inside.safetensors"):
        save_file({"a": TENSORS["a"]}, place)
    write_shards(directory, {"a": shard})
    with pytest.raises(CheckpointError, match=r"index\.json names the shard .* is refused"):
        read_weights(weight_files(directory))


@pytest.mark.parametrize("weight_map", [None, [], "all"])
def test_an_index_without_a_map(weight_map: object, tmp_path: Path) -> None:
    write_shards(tmp_path, weight_map)
    with pytest.raises(CheckpointError, match=r"index\.json has no 'weight_map'"):
        read_weights(weight_files(tmp_path))


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file(kept: int, tmp_path: Path) -> None:
    write_safetensors(tmp_path / WEIGHTS, TENSORS)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:kept])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a complete .*again"):
        read_weights(weight_files(tmp_path))


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor .*safe serializ"):
        read_weights(weight_files(tmp_path))


def test_older_directories_have_a_pickle(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    found = read_weights(weight_files(tmp_path))
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_pickles_come_in_shards_too(tmp_path: Path) -> None:
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    torch.save({"a": TENSORS["a"]}, tmp_path / names[0])
    torch.save({k: TENSORS[k] for k in "bc"}, tmp_path / names[1])
    index = {"weight_map": {"a": names[0], "b": names[1], "c": names[1]}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert_same(read_weights(weight_files(tmp_path)))
    index["weight_map"]["a"] = "../a.bin"
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"not a plain \.bin file beside it"):
        read_weights(weight_files(tmp_path))


def test_a_half_precision_variant_alone(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.fp16.safetensors", TENSORS)
    assert_same(read_weights(weight_files(tmp_path)))
    write_safetensors(tmp_path / "model.bf16.safetensors", TENSORS)
    with pytest.raises(CheckpointError, match=r"several variants \(model\.bf16.*model\.fp16"):
        read_weights(weight_files(tmp_path))


def test_json_round_trip_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"länge": 248, "x": [1.5, None]})
    assert read_json(tmp_path / "a.json") == {"länge": 248, "x": [1.5, None]}
    text = (tmp_path / "a.json").read_text("utf-8")
    assert '\n  "länge": 248,\n' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is missing: a model directory holds config.json and model.safetensors"),
        (b"", "is not valid JSON"),
        (b'{"a": ', "is not valid JSON"),
        (b"\xff\xfe{}", "is not valid JSON"),
        (b"9" * 5000, "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[1]", "holds a list, expected a JSON object"),
        (b"null", "holds a NoneType, expected a JSON object"),
    ],
)
def test_bad_json_names_the_file(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path} {says}")


def test_dtype_names() -> None:
    assert [dtype_name(d) for d in (torch.float32, torch.bfloat16)] == ["float32", "bfloat16"]
