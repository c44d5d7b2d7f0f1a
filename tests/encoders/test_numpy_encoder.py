"""The encoder of NumPy: the same embeddings and the same digest as torch's, from the same files."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.encoders.clip_encoder import CLIPEncoder
from longclip.encoders.numpy_encoder import NumpyEncoder, find_numpy_encoder
from longclip.errors import CheckpointError, EncoderError, UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.model import CLIP
from longclip.model.config import CLIPConfig
from longclip.model.digest import digest
from longclip.model.identity import model_digest
from longclip.text.tokenizer import TruncationWarning
from tests.helpers import matrix_families
from tests.helpers.models import SMALL, small_clip

TEXTS = ["a red boat", "", "Two old dogs on a bridge at dusk. " * 6, "a boat"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Notes of digests are made here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "longclip" / "digests"


def saved(directory: Path, model: CLIP, dtype: torch.dtype = torch.float32) -> Path:
    longclip.save(model, directory / "model", dtype=dtype)
    return directory / "model"


def assert_same(directory: Path, *, images: bool = True) -> None:
    """Compare with torch's embeddings, and with its digest."""
    model = longclip.load(directory)
    theirs, ours = CLIPEncoder(model), NumpyEncoder(directory, "it")
    assert ours.digest == theirs.digest == model_digest(model)
    assert (ours.embedding_dim, ours.context_length) == (theirs.embedding_dim, model.context_length)
    found, expected = ours.encode_text(TEXTS), theirs.encode_text(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert ours.embed_ids([]).shape == (0, ours.embedding_dim)
    if images:
        pictures = [Image.effect_noise((50, 40), 90).convert("RGB"), Image.new("RGB", (9, 30))]
        found, expected = ours.encode_image(pictures), theirs.encode_image(pictures)
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def of_texts(**changes: object) -> CLIPConfig:
    assert SMALL.text
    return replace(SMALL, text=replace(SMALL.text, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_embeddings_of_each_kind_of_numbers(tmp_path: Path, dtype: torch.dtype) -> None:
    assert_same(saved(tmp_path, small_clip(), dtype))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_embeddings_of_each_activation(tmp_path: Path, activation: str) -> None:
    assert SMALL.vision
    config = of_texts(hidden_act=activation)
    model = small_clip(replace(config, vision=replace(SMALL.vision, hidden_act=activation)))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "fc1" in name:
                weight.mul_(20)  # to where the activations differ, and their tails
    assert_same(saved(tmp_path, model))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", ["eos", "argmax", "last", "first"])
def test_embeddings_of_each_way_to_read_a_text(tmp_path: Path, pooling: str, causal: bool) -> None:
    model = small_clip(of_texts(pooling=pooling, causal=causal, pad_token_id=7))
    stock = CLIP(SMALL)  # the layouts that state such towers have other names of tensors
    stock.load_state_dict(model.state_dict())
    encoder = NumpyEncoder(saved(tmp_path, stock), "it")
    encoder.settings = replace(encoder.settings, config=model.config)
    expected = CLIPEncoder(model).encode_text(TEXTS)
    np.testing.assert_allclose(encoder.encode_text(TEXTS), expected, atol=1e-5)


def test_nano() -> None:
    assert_same(Path(longclip.__file__).parent / "models" / "nano")


@pytest.mark.parametrize("family", ["metaclip_2", "siglip", "other_language"])
def test_other_families(tmp_path: Path, family: str) -> None:
    pytest.importorskip("transformers")
    source = getattr(matrix_families, family)(tmp_path)
    assert_same(source.path, images=family != "siglip")


def test_one_tower_alone(tmp_path: Path) -> None:
    longclip.save(small_clip(), tmp_path / "whole")
    for tower in ("text", "image"):
        model = longclip.load(tmp_path / "whole", tower=tower)
        longclip.save(model, tmp_path / tower)
    assert_same(tmp_path / "text", images=False)
    with pytest.raises(UsageError, match="CLIP's ViT alone"):
        NumpyEncoder(tmp_path / "text", "it").encode_image([Image.new("RGB", (9, 9))])
    with pytest.raises(UsageError, match="an image tower alone"):
        NumpyEncoder(tmp_path / "image", "it").embed_ids([[49406, 49407]])


def test_shards(tmp_path: Path) -> None:
    model = small_clip()
    longclip.save(model, tmp_path / "whole")
    pytest.importorskip("transformers").CLIPModel.from_pretrained(
        tmp_path / "whole"
    ).save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert_same(tmp_path / "shards")


def test_rounding_is_torchs(tmp_path: Path) -> None:
    """Halves to even, overflow to infinity, numbers too small for a normal one."""
    numbers = torch.randn(4096, generator=torch.Generator().manual_seed(0)) * 1e3
    halves = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.4e38, -3.4e38, 1e-40, 0.0, -0.0])
    values = torch.cat([numbers, halves])
    from safetensors.torch import save_file

    from longclip.checkpoints.mapped_tensors import map_safetensors

    save_file(
        {"a": values, "b": values.double(), "c": values[:9].half()}, tmp_path / "a.safetensors"
    )
    for name, expected in (("a", values), ("b", values), ("c", values[:9].half())):
        found = np.concatenate([*map_safetensors(tmp_path / "a.safetensors")[name].bfloat16()])
        bits = expected.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        np.testing.assert_array_equal(found, bits)


def test_a_file_that_is_not_whole_is_told(tmp_path: Path) -> None:
    from longclip.checkpoints.mapped_tensors import map_safetensors

    whole = (saved(tmp_path, small_clip()) / "model.safetensors").read_bytes()
    for damaged in (
        b"",
        whole[:7],
        whole[:300],
        whole[:-1],
        b"\xff" * 400,
        b"\2" + bytes(7) + b"[]",
    ):
        (tmp_path / "a.safetensors").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            map_safetensors(tmp_path / "a.safetensors")


def test_ids_that_the_model_has_not_are_refused(tmp_path: Path) -> None:
    encoder = NumpyEncoder(saved(tmp_path, small_clip()), "it")
    with pytest.raises(UsageError, match="text 0 has 78 tokens, this model reads 1 to 77"):
        encoder.embed_ids([[49406] * 78])
    with pytest.raises(UsageError, match=r"text 1 has a token id .* vocabulary of 49408"):
        encoder.embed_ids([[49406, 49407], [49408]])
    with pytest.raises(UsageError, match="text 0 has 0 tokens"):
        encoder.embed_ids([[]])
    with pytest.raises(UsageError, match=r"pixels are uint8 .*, this model takes uint8"):
        encoder.embed_pixels(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.warns(TruncationWarning):
        encoder.encode_text(["a boat " * 99])
    with pytest.raises(
        UsageError, match=r"--device cuda is for --engine torch: this engine .numpy"
    ):
        encoder.to("cuda")


def test_numbers_that_are_not_finite_are_told(tmp_path: Path) -> None:
    model = small_clip()
    model.text_projection.weight.data[3, 3] = torch.nan
    with pytest.raises(EncoderError, match="it gives 1 of 1 embeddings that are not finite"):
        NumpyEncoder(saved(tmp_path, model), "it").encode_text(["a boat"])


def test_what_is_not_read_here_is_left_to_torch(tmp_path: Path) -> None:
    model = small_clip()
    directory = saved(tmp_path, model)
    wanted = model_digest(model)
    found = find_numpy_encoder(str(directory), wanted, images=True)
    assert found is not None
    assert found.name == str(directory)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    (tmp_path / "empty").mkdir()
    for other in ("model.pt", "empty", "nothing", "model/model.safetensors"):
        assert find_numpy_encoder(str(tmp_path / other), wanted, images=False) is None
    assert find_numpy_encoder("owner/never-fetched", wanted, images=False) is None
    assert find_numpy_encoder(str(directory), "0" * 64, images=False) is None
    (directory / "config.json").write_text("{}")
    assert find_numpy_encoder(str(directory), wanted, images=False) is None


def test_pictures_of_another_librarys_tower_are_left_to_it(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = matrix_families.siglip(tmp_path)
    wanted = model_digest(longclip.load(source.path))
    assert find_numpy_encoder(str(source.path), wanted, images=False) is not None
    assert find_numpy_encoder(str(source.path), wanted, images=True) is None


def test_a_name_on_the_hub_is_found_in_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = small_clip()
    repository = tmp_path / "hub" / "models--openai--clip-vit-base-patch16"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    longclip.save(model, repository / "snapshots" / "0123abc")
    for name in ("openai/clip-vit-base-patch16", "ViT-B/16"):
        found = find_numpy_encoder(name, model_digest(model), images=True)
        assert found is not None
        assert found.name == "openai/clip-vit-base-patch16"


def age(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute pass."""
    now = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: now() + 60_000_000_000)


def test_a_noted_digest_is_not_computed_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = saved(tmp_path, small_clip())
    first = NumpyEncoder(directory, "it").digest
    assert not cache.exists()  # another change could have the same time
    age(directory, monkeypatch)
    assert NumpyEncoder(directory, "it").digest == first
    assert [note.read_text() for note in cache.iterdir()] == [f"{first}\n"]
    monkeypatch.setattr("longclip.encoders.numpy_encoder.digest", None)
    assert NumpyEncoder(directory, "it").digest == first


def test_a_changed_file_has_another_digest(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also written in place, with the size and the time of modification that it had."""
    directory = saved(tmp_path, small_clip())
    weights = directory / "model.safetensors"
    age(directory, monkeypatch)
    first, before = NumpyEncoder(directory, "it").digest, weights.stat()
    with weights.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x41\x41")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert NumpyEncoder(directory, "it").digest != first
    assert len(list(cache.iterdir())) == 2


def test_other_settings_have_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = saved(tmp_path, small_clip())
    age(directory, monkeypatch)
    first = NumpyEncoder(directory, "it").digest
    config = (directory / "config.json").read_text()
    (directory / "config.json").write_text(config.replace('"quick_gelu"', '"gelu"'))
    assert NumpyEncoder(directory, "it").digest != first


def test_a_home_that_cannot_be_written_to_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = saved(tmp_path, small_clip())
    (tmp_path / "cache").write_text("a file")
    age(directory, monkeypatch)
    model = longclip.load(directory)
    assert NumpyEncoder(directory, "it").digest == model_digest(model)


def test_a_user_without_a_home_searches_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_clip()
    directory = saved(tmp_path, model)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert find_numpy_encoder(str(directory), model_digest(model), images=True) is not None
    with pytest.raises(UsageError, match=r"no home directory .* XDG_CACHE_HOME=/DIRECTORY"):
        EmbeddingCache()


def test_a_note_of_somebody_elses_is_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = saved(tmp_path, small_clip())
    age(directory, monkeypatch)
    first = NumpyEncoder(directory, "it").digest

    def refused(path: Path) -> bool:
        raise PermissionError(path)

    monkeypatch.setattr("longclip.model.digest.touch", refused)
    monkeypatch.setattr("longclip.encoders.numpy_encoder.digest", None)
    assert NumpyEncoder(directory, "it").digest == first


def test_no_note_is_made_of_a_file_that_was_new_when_it_was_looked_at(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computing takes seconds, in which what was read may have been replaced and grown old."""
    directory = saved(tmp_path, small_clip())

    def slowly(*given: object) -> str:
        age(directory, monkeypatch)
        return digest(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("longclip.encoders.numpy_encoder.digest", slowly)
    assert len(NumpyEncoder(directory, "it").digest) == 64
    assert not cache.exists()
