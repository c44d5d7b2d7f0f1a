"""SigLIP in transformers' layout: both towers, lengthened, saved and loaded by their owner."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import longclip
from longclip.errors import CheckpointError
from longclip.model.architectures import architecture
from longclip.model.stretch import UntrainedWarning
from tests.helpers.unigram import write_unigram

transformers = pytest.importorskip("transformers")

TEXT = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
VISION = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(0)
    model = transformers.SiglipModel(
        transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    directory = tmp_path_factory.mktemp("siglip")
    model.save_pretrained(directory)
    write_unigram(directory, tokenizer_class="T5Tokenizer", model_max_length=64)
    return model, directory


def texts_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = model.get_text_features(input_ids=ids)
    return getattr(found, "pooler_output", found)


def test_both_towers_give_what_transformers_gives(owner: tuple[Any, Path]) -> None:
    theirs, directory = owner
    ours = longclip.load(directory)
    ids = torch.randint(2, 200, (7, 64))
    with torch.no_grad():
        torch.testing.assert_close(ours.text_features(ids), texts_of(theirs, ids))
        pixels = torch.rand(3, 3, 32, 32)
        images = theirs.get_image_features(pixel_values=pixels)
        images = getattr(images, "pooler_output", images)
        torch.testing.assert_close(ours.image_features(pixels), images)
    assert float(ours.logit_bias) == float(theirs.logit_bias)


def test_padding_is_part_of_the_function(owner: tuple[Any, Path]) -> None:
    theirs, directory = owner
    ours = longclip.load(directory)
    [ids] = ours.tokenizer.encode(["A red dog, in the OLD house!"])
    padded = torch.tensor([ids + [1] * (64 - len(ids))])
    expected = texts_of(theirs, padded)[0]
    found = ours.encode_text(["A red dog, in the OLD house!", "cats", "two small cats sleep"])
    torch.testing.assert_close(found[0], expected)
    # SigLIP's canonical form has neither capitals nor punctuation.
    assert ours.tokenizer.encode(["a red dog in the old house"]) == [ids]


def test_it_is_lengthened_and_read_by_transformers(owner: tuple[Any, Path], tmp_path: Path) -> None:
    _, directory = owner
    with pytest.warns(UntrainedWarning, match="--context-length 196"):
        longer = longclip.stretch(longclip.load(directory))
    longclip.save(longer, tmp_path / "long")
    theirs = transformers.SiglipModel.from_pretrained(tmp_path / "long").eval()
    ids = torch.randint(2, 200, (2, 196))
    with torch.no_grad():
        torch.testing.assert_close(longer.text_features(ids), texts_of(theirs, ids))
    again = longclip.load(tmp_path / "long")
    assert again.context_length == 196
    assert again.tokenizer.encode(["cats sleep"]) == longer.tokenizer.encode(["cats sleep"])
    config = json.loads((tmp_path / "long/tokenizer_config.json").read_text())
    assert config["model_max_length"] == 196


def test_saving_changes_no_bit(owner: tuple[Any, Path], tmp_path: Path) -> None:
    _, directory = owner
    longclip.save(longclip.load(directory), tmp_path / "same")
    before, after = (load_file(d / "model.safetensors") for d in (directory, tmp_path / "same"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_texts_need_no_transformers(
    owner: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, directory = owner
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "transformers" else find_spec(name)
    )
    model = longclip.load(directory)
    assert model.encode_text(["cats"]).shape == (1, 48)
    with pytest.raises(longclip.errors.UsageError, match="images of a SigLIP need transformers"):
        model.image_features(torch.rand(1, 3, 32, 32))


def test_a_file_of_another_name_is_read_with_the_config_beside_it(
    owner: tuple[Any, Path], tmp_path: Path
) -> None:
    _, directory = owner
    shutil.copytree(directory, tmp_path / "model")
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model/mine.safetensors")
    ours, expected = longclip.load(tmp_path / "model/mine.safetensors"), longclip.load(directory)
    assert ours.config == expected.config
    texts = ["A red dog!", "cats"]
    assert torch.equal(ours.encode_text(texts), expected.encode_text(texts))
    (tmp_path / "model/config.json").unlink()
    with pytest.raises(CheckpointError, match=r"weights of a SigLIP.*put its config\.json beside"):
        longclip.load(tmp_path / "model/mine.safetensors")


def test_what_is_not_computed_is_refused(owner: tuple[Any, Path], tmp_path: Path) -> None:
    _, directory = owner
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["rope_theta"] = 10000
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json: text_config: rope_theta is 10000"):
        longclip.load(tmp_path)


def test_a_new_one_is_made_of_its_config(owner: tuple[Any, Path]) -> None:
    config = architecture(str(owner[1] / "config.json"))
    assert config == longclip.load(owner[1]).config


@pytest.mark.parametrize("listed", [True, False])
def test_texts_are_padded_as_the_tokenizer_says(
    listed: bool, owner: tuple[Any, Path], tmp_path: Path
) -> None:
    """A SigLIP 2's tokenizer pads with 0, and its config.json leaves transformers' default of 1."""
    model, directory = owner
    copy = tmp_path / "model"
    shutil.copytree(directory, copy)
    config = json.loads((copy / "config.json").read_text())
    config["text_config"].pop("pad_token_id", None)
    (copy / "config.json").write_text(json.dumps(config))
    assert transformers.SiglipConfig.from_pretrained(copy).text_config.pad_token_id == 1
    told: dict[str, Any] = {"tokenizer_class": "T5Tokenizer", "pad_token": "<pad>"}
    if listed:
        told["added_tokens_decoder"] = {"0": {"content": "<pad>", "special": True}}
    (copy / "tokenizer_config.json").write_text(json.dumps(told))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(copy / "tokenizer.json"), pad_token="<pad>"
    )
    ids = tokenizer(
        ["a red dog", ""], padding="max_length", max_length=64, return_tensors="pt"
    ).input_ids
    assert ids[0, -1] == 0
    ours = longclip.load(copy).encode_text(["a red dog", ""])
    assert torch.allclose(ours, texts_of(model, ids), atol=1e-5)


@pytest.mark.parametrize("option", ["padding_side", "truncation_side"])
def test_texts_that_are_padded_or_cut_on_the_left_are_refused(
    option: str, owner: tuple[Any, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(owner[1], copy)
    path = copy / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {option: "left"}))
    with pytest.raises(CheckpointError, match=rf"tokenizer_config\.json: {option} is 'left'"):
        longclip.load(copy).encode_text(["a red dog"])


def test_what_a_config_states_beside_its_towers_is_not_ignored(
    owner: tuple[Any, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(owner[1], copy)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"logit_cap": 3}))
    with pytest.raises(CheckpointError, match=r"config\.json: logit_cap is 3"):
        longclip.load(copy)
