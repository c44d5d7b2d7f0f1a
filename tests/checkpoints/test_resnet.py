"""OpenAI's ResNets, as archives and as state dicts, held against OpenAI's own code."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import longclip
import longclip.image.preprocess
from longclip.errors import CheckpointError
from longclip.model.convert import convert
from longclip.model.pretrained import AssumptionWarning
from tests.helpers.openai_library import openai_clip
from tests.helpers.openclip_library import open_clip

ENTRIES = {"input_resolution": 64, "context_length": 77, "vocab_size": 49408}
TEXTS = ["a red dog", "two small cats sleep in an old house", ""]


@pytest.fixture(scope="module")
def theirs() -> Any:
    torch.manual_seed(0)
    model = openai_clip().CLIP(24, 64, (1, 2, 1, 1), 8, None, 77, 49408, 64, 1, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.1, 0.9)
    return model.eval()


def write(kind: str, model: Any, path: Path) -> None:
    if kind == "archive":
        # As OpenAI publishes them, with the numbers of batches that were seen.
        whole = copy.deepcopy(model)
        del whole.context_length, whole.vocab_size
        for name, value in ENTRIES.items():
            whole.register_buffer(name, torch.tensor(value))
        inputs = torch.rand(1, 3, 64, 64), torch.randint(1, 400, (1, 77))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(whole, inputs, check_trace=False), path)
        return
    entries = {name: torch.tensor(value) for name, value in ENTRIES.items()}
    torch.save(model.state_dict() | (entries if kind == "state dict" else {}), path)


@pytest.mark.parametrize("kind", ["archive", "state dict", "bare"])
def test_embeddings_are_those_of_openais_code(kind: str, theirs: Any, tmp_path: Path) -> None:
    open_clip()
    write(kind, theirs, tmp_path / "RN50-quickgelu.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if kind == "bare" else "error", AssumptionWarning)
        ours = longclip.load(tmp_path / "RN50-quickgelu.pt")
    ids = torch.nn.functional.pad(ours.token_ids(TEXTS), (0, 60))[:, :77]
    ids[ids == 49407] = 0
    for row, text in zip(ids, ours.tokenizer.encode(TEXTS), strict=True):
        row[len(text) - 1] = 49407
    pixels = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        texts, images = theirs.encode_text(ids), theirs.encode_image(pixels)
        torch.testing.assert_close(ours.encode_text(TEXTS), texts, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.image_features(pixels), images, rtol=0, atol=1e-5)
    assert images.std() > 0.01
    assert ours.preprocess == longclip.image.preprocess.Preprocess(image_size=64)


def test_it_is_lengthened_and_read_by_openclip(theirs: Any, tmp_path: Path) -> None:
    library = open_clip()
    write("state dict", theirs, tmp_path / "RN50.pt")
    longclip.save(longclip.stretch(longclip.load(tmp_path / "RN50.pt")), tmp_path / "long")
    ours = longclip.load(tmp_path / "long")
    read = library.create_model(f"local-dir:{tmp_path / 'long'}").eval()
    ids = torch.randint(1, 49000, (2, 248))
    ids[:, 200] = 49407
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.text_features(ids), read.encode_text(ids))
        torch.testing.assert_close(read.encode_image(pixels), theirs.encode_image(pixels))


def test_converting_changes_no_bit(theirs: Any, tmp_path: Path) -> None:
    write("state dict", theirs, tmp_path / "RN50.pt")
    convert(tmp_path / "RN50.pt", tmp_path / "same", "openclip")
    found, expected = load_file(tmp_path / "same/open_clip_model.safetensors"), theirs.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(CheckpointError, match=r"image tower of open_clip.*--to openclip"):
        convert(tmp_path / "RN50.pt", tmp_path / "hf", "hf")


def test_a_bare_one_says_what_was_assumed(theirs: Any, tmp_path: Path) -> None:
    write("bare", theirs, tmp_path / "RN50.pt")
    with pytest.warns(AssumptionWarning, match="gelu was assumed"):
        longclip.load(tmp_path / "RN50.pt")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("visual.attnpool.positional_embedding", "there is no visual.attnpool.positional_emb"),
        ("visual.layer2.0.conv1.weight", "another image tower"),
        ("token_embedding.weight", "there is no token_embedding"),
    ],
)
def test_a_part_that_is_missing_is_named(name: str, says: str, theirs: Any, tmp_path: Path) -> None:
    state = {key: value for key, value in theirs.state_dict().items() if key != name}
    torch.save(state | {"input_resolution": torch.tensor(64)}, tmp_path / "RN50.pt")
    with pytest.raises((CheckpointError, longclip.errors.UsageError), match=says):
        longclip.load(tmp_path / "RN50.pt").image_features(torch.rand(1, 3, 64, 64))
