"""CLIPs in other languages: transformers' CLIPModel with a vocabulary and tokenizer of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import longclip
from longclip.errors import CheckpointError
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.unigram import write_unigram

transformers = pytest.importorskip("transformers")

TOWER = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
TOWER |= {"num_attention_heads": 4}
TEXTS = ["a red dog", "Two small cats sleep in an OLD house!", "zwei Katzen im Haus"]


def save_model(directory: Path, eos: int) -> Any:
    """Save a model that reads texts at the first `eos`, or at the largest id where that is 2."""
    torch.manual_seed(0)
    text = {**TOWER, "vocab_size": 300, "bos_token_id": 3, "eos_token_id": eos, "pad_token_id": 0}
    vision = {**TOWER, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=40)
    model = transformers.CLIPModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(directory)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    write_unigram(directory, begin="<s>", tokenizer_class="PreTrainedTokenizerFast", **special)
    return model


def texts_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = model.get_text_features(input_ids=ids)
    return getattr(found, "pooler_output", found)


@pytest.mark.parametrize("eos", [1, 2])
def test_texts_are_read_by_the_models_own_tokens(eos: int, tmp_path: Path) -> None:
    theirs = save_model(tmp_path / "model", eos)
    ours = longclip.load(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    inputs = tokenizer(TEXTS, padding="max_length", max_length=77, return_tensors="pt")
    expected = texts_of(theirs, inputs["input_ids"])
    torch.testing.assert_close(ours.encode_text(TEXTS), expected)

    longclip.save(longclip.stretch(ours), tmp_path / "long")
    longer = longclip.load(tmp_path / "long")
    read = transformers.CLIPModel.from_pretrained(tmp_path / "long").eval()
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "long")
    assert again.model_max_length == 248
    inputs = again(TEXTS, padding="max_length", max_length=248, return_tensors="pt")
    torch.testing.assert_close(longer.encode_text(TEXTS), texts_of(read, inputs["input_ids"]))


def test_without_a_tokenizer_texts_are_refused_and_ids_are_not(tmp_path: Path) -> None:
    save_model(tmp_path, 1)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    model = longclip.load(tmp_path)
    assert model.encode_text([[3, 9, 1]]).shape == (1, 40)
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json.*not CLIP's"):
        model.encode_text(["a dog"])


def test_clips_tokenizer_beside_a_clip_is_clips(saved: Path, tmp_path: Path) -> None:
    """Also where one entry of the file is damaged: what we have is whole."""
    shutil.copytree(saved, tmp_path / "model")
    path = tmp_path / "model/tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["boat</w>"] = 77
    path.write_text(json.dumps(content))
    for directory in (saved, tmp_path / "model"):
        model = longclip.load(directory)
        assert model.tokenizer is clip_tokenizer()


def test_another_vocabulary_of_the_same_size_is_not_taken_for_clips(
    saved: Path, tmp_path: Path
) -> None:
    shutil.copytree(saved, tmp_path / "model")
    write_unigram(tmp_path / "model", begin="<s>")
    model = longclip.load(tmp_path / "model")
    assert model.tokenizer is not clip_tokenizer()
    assert model.tokenizer.encode(["a red dog"])[0][0] == 3
