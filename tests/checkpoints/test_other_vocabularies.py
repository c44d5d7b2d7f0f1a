"""CLIPs in other languages: transformers' CLIPModel with a vocabulary and tokenizer of its own."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.checkpoints.config import infer_config
from longclip.checkpoints.formats.openai import from_huggingface
from longclip.errors import CheckpointError
from longclip.model import CLIP, CLIPConfig, TextConfig, VisionConfig
from longclip.model.inspect import summary
from longclip.model.pretrained import AssumptionWarning, open_checked
from longclip.spec import POSITION_TABLE
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.models import SMALL, small_clip
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


def bare_weights(directory: Path, layout: str, vocabulary: int) -> tuple[CLIP, Path]:
    """Write the weights of a CLIP alone; returns the model and the file."""
    text = TextConfig(64, 64, 1, 1, "gelu", vocab_size=vocabulary, eos_token_id=vocabulary - 1)
    text = replace(text, max_position_embeddings=77, pooling="argmax", pad_token_id=0)
    vision = VisionConfig(64, 64, 1, 1, "gelu", image_size=16, patch_size=8)
    model = small_clip(CLIPConfig(text, vision, 8))
    tensors: Any = model.state_dict()
    tensors = tensors if layout == "transformers" else from_huggingface(tensors)
    directory.mkdir()
    save_file({n: t.contiguous() for n, t in tensors.items()}, directory / "mine.safetensors")
    return model, directory / "mine.safetensors"


@pytest.mark.parametrize("layout", ["transformers", "openclip"])
@pytest.mark.parametrize("vocabulary", [300, 60_000])
def test_bare_weights_of_another_vocabulary_need_its_tokenizer(
    vocabulary: int, layout: str, tmp_path: Path
) -> None:
    expected, path = bare_weights(tmp_path / "model", layout, vocabulary)
    with pytest.warns(AssumptionWarning, match=f"vocabulary of {vocabulary:,} tokens is not CLIP"):
        model = longclip.load(path)
    ids = [[3, 9, 250, 1]]
    torch.testing.assert_close(model.encode_text(ids), expected.encode_text(ids))
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json.*fetch the file"):
        model.encode_text(["a dog"])
    assert summary(open_checked(path)[0])["towers"]["text"]["vocabulary"] == vocabulary
    longclip.save(longclip.stretch(model), tmp_path / "long")
    assert not [*(tmp_path / "long").glob("*token*"), *(tmp_path / "long").glob("vocab*")]
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        longclip.load(tmp_path / "long").encode_text(["a dog"])

    write_unigram(path.parent, begin="<s>")
    with pytest.warns(AssumptionWarning):
        model = longclip.load(path)
    [ids] = model.tokenizer.encode(["a red dog"])
    assert ids[0] == 3
    assert ids[-1] == 1
    torch.testing.assert_close(model.encode_text(["a red dog"]), expected.encode_text([ids]))


@pytest.mark.parametrize(("vocabulary", "end"), [(901_629, 2), (250_100, 1)])
def test_bare_weights_of_a_metaclip_2_are_read_at_the_end_of_its_tokenizer(
    vocabulary: int, end: int
) -> None:
    tensors = {
        "text_model.embeddings.token_embedding.weight": torch.empty(vocabulary, 64, device="meta"),
        POSITION_TABLE: torch.empty(77, 64),
        "text_model.encoder.layers.0.mlp.fc1.weight": torch.empty(64, 64),
    }
    text = TextConfig.from_json(infer_config(Path("m"), tensors, "gelu"))
    assert (text.pooling, text.eos_token_id) == ("eos", end)


def test_rows_that_were_added_to_clips_vocabulary_leave_its_tokenizer(
    saved: Path, tmp_path: Path
) -> None:
    model, path = bare_weights(tmp_path / "model", "transformers", 49_410)
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (path.parent / name).write_bytes((saved / name).read_bytes())
    with pytest.warns(AssumptionWarning):
        found = longclip.load(path)
    assert found.tokenizer is clip_tokenizer()
    ids = clip_tokenizer().encode(["a red dog"])
    assert torch.equal(found.encode_text(["a red dog"]), model.encode_text(ids))


@pytest.mark.parametrize("name", ["mine.bin", "open_clip_pytorch_model.bin"])
def test_weights_beside_an_openclip_config_that_names_a_tokenizer(
    name: str, tmp_path: Path
) -> None:
    _, path = bare_weights(tmp_path / "model", "openclip", 300)
    tensors = load_file(path)
    path.unlink()
    torch.save(tensors, path.with_name(name))
    write_unigram(path.parent)
    text = {"context_length": 77, "vocab_size": 300, "width": 64, "heads": 1, "layers": 1}
    text |= {"mlp_ratio": 1, "hf_tokenizer_name": "a/b", "pool_type": "eos", "eos_id": 1}
    vision = {"image_size": 16, "patch_size": 8, "width": 64, "layers": 1, "mlp_ratio": 1}
    config = {"model_cfg": {"embed_dim": 8, "text_cfg": text, "vision_cfg": vision}}
    (path.parent / "open_clip_config.json").write_text(json.dumps(config))
    model = longclip.load(path.with_name(name))
    assert model.config.text is not None
    assert (model.config.text.pooling, model.config.text.eos_token_id) == ("eos", 1)
    assert model.tokenizer.encode(["a red dog"])[0][-1] == 1
    assert model.encode_text(["a red dog"]).shape == (1, 8)


def test_a_vocabulary_smaller_than_clips_is_never_given_clips_ids() -> None:
    model = small_clip(replace(SMALL, text=replace(SMALL.text, vocab_size=300, eos_token_id=1)))
    with pytest.raises(CheckpointError, match="has 300 tokens, fewer than CLIP's"):
        model.encode_text(["a dog"])


@pytest.mark.parametrize("name", ["vocab.txt", "spiece.model", "vocab.json"])
def test_a_vocabulary_of_another_kind_and_the_same_size_is_not_taken_for_clips(
    name: str, saved: Path, tmp_path: Path
) -> None:
    shutil.copytree(saved, tmp_path / "model")
    for file in ("tokenizer.json", "vocab.json", "merges.txt"):
        (tmp_path / "model" / file).unlink()
    assert longclip.load(tmp_path / "model").tokenizer is clip_tokenizer()
    (tmp_path / "model" / name).write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer"):
        longclip.load(tmp_path / "model").encode_text(["a dog"])
