"""Opening by name, our own models, and what makes two encoders the same."""

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.encoders import CLIPEncoder, open_encoder
from longclip.errors import CheckpointError, EncoderError, ImageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_images, embed_texts
from longclip.image.preprocess import Preprocess
from longclip.model.convert import convert
from longclip.model.identity import encoder_fingerprint
from longclip.util import plugins
from tests.helpers.encoders import BagOfTokens
from tests.helpers.models import SMALL, small_clip

TEXTS = ["a red boat", "", "Café &amp; dogs " * 40]


def pictures():
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return [Image.fromarray(noise), Image.fromarray(noise[:32, :32]), Image.new("RGB", (20, 70))]


@pytest.fixture
def saved(tmp_path):
    longclip.save(small_clip(), tmp_path / "model")
    return tmp_path / "model"


def test_our_own_models_are_unchanged(saved):
    encoder, model = open_encoder(str(saved)), longclip.load(saved)
    assert (encoder.name, encoder.context_length) == (str(saved), 77)
    assert encoder.device == torch.device("cpu")
    assert np.array_equal(encoder.encode_text(TEXTS[:2]), model.encode_text(TEXTS[:2]))
    images = model.encode_image(pictures()).numpy()
    assert np.array_equal(encoder.encode_image(pictures()), images)
    prepared = [encoder.prepare(picture) for picture in pictures()]
    assert np.array_equal(encoder.encode_image(prepared), images)
    with pytest.raises(ImageError, match="too narrow"):
        encoder.prepare(Image.new("RGB", (1, 60_000)))


def test_the_bundled_model_and_half_precision():
    encoder = open_encoder("nano", dtype=torch.bfloat16)
    assert encoder.model.dtype == torch.bfloat16
    assert encoder.encode_text(["a boat"]).dtype == np.float32
    assert open_encoder("nano").model.dtype == torch.float32


def test_what_cannot_be_opened_is_named(saved, tmp_path):
    with pytest.raises(CheckpointError, match="no model 'nowhere'"):
        open_encoder("nowhere")
    with pytest.raises(EncoderError, match=r"'wat' is none of transformers:, open_clip:, sent"):
        open_encoder("wat:something")
    with pytest.raises(CheckpointError, match=r"no model '\./a:b'"):
        open_encoder("./a:b")
    convert(saved, tmp_path / "text", "hf-text")
    with pytest.raises(EncoderError, match="one tower alone"):
        open_encoder(str(tmp_path / "text"))


def test_anybody_can_plug_one_in(monkeypatch):
    opened = []

    def mine(rest, *, device):
        opened.append((rest, device))
        return BagOfTokens()

    module = type(sys)("plugin")
    module.mine, module.broken, module.other = mine, lambda rest, device: 1 / 0, lambda *_, **__: 5
    monkeypatch.setitem(sys.modules, "plugin", module)
    offered = [
        EntryPoint(name, f"plugin:{name}", plugins.ENCODERS)
        for name in ("mine", "broken", "other", "lost")
    ]
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group: offered if group == "longclip.encoders" else [],
    )
    assert isinstance(open_encoder("mine:a/b:c", device="cuda:1"), BagOfTokens)
    assert opened == [("a/b:c", "cuda:1")]
    with pytest.raises(EncoderError, match=r"broken:x .*division by zero.*plugin:broken"):
        open_encoder("broken:x")
    with pytest.raises(EncoderError, match=r"plugin:other gives has no context_length and no enc"):
        open_encoder("other:x")
    with pytest.raises(EncoderError, match=r"lost:x .*plugin:lost"):
        open_encoder("lost:x")
    with pytest.raises(EncoderError, match=r"npy:, broken:, lost:, mine:, other:"):
        open_encoder("unknown:x")


@pytest.mark.parametrize(
    ("spec", "module", "install"),
    [
        ("transformers:x", "transformers", "transformers"),
        ("open_clip:x", "open_clip", "open_clip_torch torchvision"),
        ("sentence-transformers:x", "sentence_transformers", "sentence-transformers"),
    ],
)
def test_missing_libraries_say_what_to_install(spec, module, install, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EncoderError, match=f"{module} cannot be imported .*pip install {install}$"):
        open_encoder(spec)


def test_a_torchvision_for_another_torch_is_no_crash(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("longclip.encoders.library.importlib.import_module", broken)
    with pytest.raises(EncoderError, match=r"open_clip .*torchvision::nms.*pip install"):
        open_encoder("open_clip:ViT-B-32/openai")


def changed(**text):
    return small_clip(replace(SMALL, text=replace(SMALL.text, **text)))


def one_bit(model):
    weight = model.text_model.encoder.layers[0].mlp.fc1.weight
    with torch.no_grad():
        weight.view(torch.int32)[3, 5] ^= 1
    return model


def preprocessed(**values):
    model = small_clip()
    model.preprocess = Preprocess(32, **values)
    return model


def test_a_fingerprint_changes_with_whatever_changes_an_embedding():
    fingerprints = {
        CLIPEncoder(model, "any name").fingerprint
        for model in (
            small_clip(),
            small_clip(seed=1),
            one_bit(small_clip()),
            changed(hidden_act="gelu"),
            changed(layer_norm_eps=1e-6),
            preprocessed(mean=(0.5, 0.5, 0.5)),
            preprocessed(std=(0.5, 0.5, 0.5)),
            small_clip().bfloat16(),
            longclip.stretch(small_clip()),
        )
    }
    assert len(fingerprints) == 9


def test_a_fingerprint_does_not_change_with_name_and_place(saved, tmp_path):
    convert(saved, tmp_path / "openclip", "openclip")
    whole = {
        CLIPEncoder(small_clip(), "one").fingerprint,
        open_encoder(str(saved)).fingerprint,
        open_encoder(str(tmp_path / "openclip")).fingerprint,
    }
    assert len(whole) == 1


def test_a_fingerprint_sees_tokenizers_and_image_processors():
    module = torch.nn.Linear(2, 2)

    def of(tokenize=lambda texts: {"ids": torch.tensor([len(t) for t in texts])}, prepare=None):
        return encoder_fingerprint(module, {}, tokenize, prepare)

    found = [
        of(),
        of(lambda texts: {"ids": torch.tensor([len(t.strip()) for t in texts])}),
        of(lambda texts: {"ids": torch.tensor([len(t.lower()) + t.isupper() for t in texts])}),
        of(prepare=lambda image: np.asarray(image)),
        of(prepare=lambda image: [np.asarray(image.resize((32, 32)))]),
        of(prepare=lambda image: [np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))]),
        of(prepare=lambda image: {"p": torch.from_numpy(np.array(image)).float() / 255}),
    ]
    assert found[0] == of()
    assert found[2] == found[0]  # the same tokens, whatever made them
    assert len(set(found)) == len(found) - 1


def test_the_bundled_model_through_the_cache(tmp_path):
    from longclip.data import ScenesCollection

    collection = ScenesCollection("test", size=5)
    texts = [text for i in range(5) for text in collection.captions(i).long]
    expected = longclip.load("nano")
    for cache in (None, EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)):
        encoder = open_encoder("nano")
        images = embed_images(encoder, collection, cache=cache).embeddings
        assert torch.equal(
            images, expected.encode_image([collection.image(i) for i in range(len(collection))])
        )
        found = embed_texts(encoder, texts, width=images.shape[1], cache=cache)
        assert torch.equal(found, embed_texts(expected, texts))
    # One block of pictures and one of texts, each with a header of 16 bytes; a key has 32.
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.embeddings")) == 2 * 16 + (
        5 + len(set(texts))
    ) * (32 + 4 * images.shape[1])
