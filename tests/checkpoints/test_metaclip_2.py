"""MetaCLIP 2 in transformers' layout: a CLIP with another vocabulary, whole and one tower."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.errors import CheckpointError
from longclip.text.tokenizer import TruncationWarning
from tests.helpers.unigram import write_unigram

transformers = pytest.importorskip("transformers")

TOWER = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3}
TOWER |= {"num_attention_heads": 4, "projection_dim": 40}
TEXT = {**TOWER, "vocab_size": 300, "bos_token_id": 3, "eos_token_id": 1, "pad_token_id": 0}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}
TEXTS = [
    "a red dog",
    "A RED dog, runs over the   green grass!",
    "",
    "zwei Katzen schlafen im Haus über dem Fluß",
    "two small cats sleep in an old house " * 20,
    "日本語のテキスト",
    "a</s>b",
]


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(0)
    config = transformers.MetaClip2Config(text_config=TEXT, vision_config=VISION, projection_dim=40)
    model = transformers.MetaClip2Model(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    directory = tmp_path_factory.mktemp("metaclip")
    model.save_pretrained(directory)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    write_unigram(
        directory,
        begin="<s>",
        tokenizer_class="PreTrainedTokenizerFast",
        model_max_length=77,
        **special,
    )
    return model, directory


def texts_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = model.get_text_features(input_ids=ids)
    return getattr(found, "pooler_output", found)


def test_it_gives_what_transformers_gives_with_its_own_tokens(
    owner: tuple[Any, Path],
) -> None:
    theirs, directory = owner
    ours = longclip.load(directory)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    # Special tokens that are written in a text are text here.
    for text in TEXTS[:-1]:
        assert ours.tokenizer.encode([text]) == [tokenizer(text)["input_ids"]]
    padded = tokenizer(
        TEXTS[:-1], padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    with pytest.warns(TruncationWarning):
        found = ours.encode_text(TEXTS[:-1])
    torch.testing.assert_close(found, texts_of(theirs, padded["input_ids"]))
    assert ours.tokenizer.encode(["a</s>b"])[0].count(1) == 1
    pixels = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        images = theirs.get_image_features(pixel_values=pixels)
        images = getattr(images, "pooler_output", images)
        torch.testing.assert_close(ours.image_features(pixels), images)


def test_the_first_end_counts_though_its_id_is_small(owner: tuple[Any, Path]) -> None:
    theirs, directory = owner
    ids = torch.randint(4, 250, (3, 20))
    ids[:, 9], ids[:, 15] = 1, 1
    with torch.no_grad():
        found = longclip.load(directory).text_features(ids)
    torch.testing.assert_close(found, texts_of(theirs, ids))


def test_it_is_lengthened_and_read_by_transformers(owner: tuple[Any, Path], tmp_path: Path) -> None:
    longer = longclip.stretch(longclip.load(owner[1]), 248)
    longclip.save(longer, tmp_path / "long")
    theirs = transformers.MetaClip2Model.from_pretrained(tmp_path / "long").eval()
    ids = torch.randint(4, 250, (2, 248))
    ids[:, 240] = 1
    with torch.no_grad():
        torch.testing.assert_close(longer.text_features(ids), texts_of(theirs, ids))
    again = longclip.load(tmp_path / "long")
    assert again.config.text == longer.config.text
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "long").model_max_length == 248


def test_saving_changes_no_bit(owner: tuple[Any, Path], tmp_path: Path) -> None:
    longclip.save(longclip.load(owner[1]), tmp_path / "same")
    before, after = (load_file(d / "model.safetensors") for d in (owner[1], tmp_path / "same"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_text_tower_alone(owner: tuple[Any, Path], tmp_path: Path) -> None:
    theirs, directory = owner
    tower = longclip.load(directory, tower="text")
    longclip.save(tower, tmp_path / "text")
    read = transformers.MetaClip2TextModelWithProjection.from_pretrained(tmp_path / "text").eval()
    ids = torch.randint(4, 250, (2, 30))
    ids[:, 20] = 1
    with torch.no_grad():
        torch.testing.assert_close(read(input_ids=ids).text_embeds, texts_of(theirs, ids))
        again = longclip.load(tmp_path / "text")
        torch.testing.assert_close(again.text_features(ids), texts_of(theirs, ids))


@pytest.mark.parametrize("end", [1, 2])
@pytest.mark.parametrize("kind", ["MetaClip2TextModel", "MetaClip2TextModelWithProjection"])
def test_a_text_tower_as_transformers_saves_it(kind: str, end: int, tmp_path: Path) -> None:
    """Also where the end has the id 2, which a CLIP would read as "at the largest id"."""
    torch.manual_seed(0)
    config = transformers.MetaClip2TextConfig(**{**TEXT, "eos_token_id": end})
    theirs = getattr(transformers, kind)(config).eval()
    theirs.save_pretrained(tmp_path / "model")
    write_unigram(tmp_path / "model", begin="<s>")
    ours = longclip.load(tmp_path / "model")
    ids = torch.randint(4, 250, (3, 20))
    ids[:, 9], ids[:, 15] = end, end
    longclip.save(longclip.stretch(ours, 154), tmp_path / "long")
    longer = getattr(transformers, kind).from_pretrained(tmp_path / "long").eval()
    for mine, library in ((ours, theirs), (longclip.load(tmp_path / "long"), longer)):
        with torch.no_grad():
            out = library(input_ids=ids)
            expected = out.text_embeds if "Projection" in kind else out.pooler_output
            torch.testing.assert_close(mine.text_features(ids), expected)
    assert ours.tokenizer.encode(["a red dog"])[0][0] == 3


@pytest.mark.parametrize("kind", ["MetaClip2VisionModel", "MetaClip2VisionModelWithProjection"])
def test_an_image_tower_as_transformers_saves_it(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = getattr(transformers, kind)(transformers.MetaClip2VisionConfig(**VISION)).eval()
    theirs.save_pretrained(tmp_path / "model")
    ours, pixels = longclip.load(tmp_path / "model"), torch.rand(2, 3, 32, 32)
    longclip.save(ours, tmp_path / "same")
    for library in (theirs, getattr(transformers, kind).from_pretrained(tmp_path / "same").eval()):
        with torch.no_grad():
            out = library(pixel_values=pixels)
            expected = out.image_embeds if "Projection" in kind else out.pooler_output
            torch.testing.assert_close(ours.image_features(pixels), expected)


def test_without_its_tokenizer_texts_are_refused(owner: tuple[Any, Path], tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((owner[1] / name).read_bytes())
    model = longclip.load(tmp_path)
    assert model.encode_text([[3, 20, 1]]).shape == (1, 40)
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        model.encode_text(["a red dog"])


@pytest.mark.parametrize("part", ["whole", "text"])
def test_a_file_of_another_name_beside_the_config_is_read_as_its_directory(
    part: str, owner: tuple[Any, Path], tmp_path: Path
) -> None:
    _, directory = owner
    shutil.copytree(directory, tmp_path / "model")
    weights = load_file(directory / "model.safetensors")
    (tmp_path / "model/model.safetensors").unlink()
    if part == "text":
        weights = {name: t for name, t in weights.items() if name.startswith("text_")}
    save_file(weights, tmp_path / "model/mine.safetensors")
    ours, expected = longclip.load(tmp_path / "model/mine.safetensors"), longclip.load(directory)
    assert ours.tokenizer.encode(TEXTS) == expected.tokenizer.encode(TEXTS)
    assert ours.config.text == expected.config.text
    assert torch.equal(ours.encode_text(TEXTS[:4]), expected.encode_text(TEXTS[:4]))
    longclip.save(ours, tmp_path / "saved")
    kind = {"whole": "MetaClip2Model", "text": "MetaClip2TextModelWithProjection"}[part]
    read = getattr(transformers, kind).from_pretrained(tmp_path / "saved").eval()
    [ids] = ours.tokenizer.encode(["a red dog"])
    with torch.no_grad():
        found = (
            read(input_ids=torch.tensor([ids])).text_embeds
            if part == "text"
            else texts_of(read, torch.tensor([ids]))
        )
    torch.testing.assert_close(found, ours.encode_text(["a red dog"]))


def test_what_is_not_computed_is_refused(owner: tuple[Any, Path], tmp_path: Path) -> None:
    for file in owner[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["rope_theta"] = 10000
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json: text_config: rope_theta is 10000"):
        longclip.load(tmp_path)
