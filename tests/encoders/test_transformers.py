"""Models of transformers against the library's own calls."""

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.encoders import open_encoder
from longclip.encoders.encoder import tokenizer_of
from longclip.errors import EncoderError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_texts
from longclip.text.tokenizer import truncation
from tests.helpers.models import small_clip

transformers = pytest.importorskip("transformers")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "boat", "dog", "two")
TEXTS = ["two red boat", "a", "a red dog", "dog " * 100, ""]
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
    "encoder_hidden_size": 16,
    "projection_size": 16,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
EFFICIENT_NET = {
    "image_size": 32,
    "hidden_dim": 8,
    "width_coefficient": 0.2,
    "depth_coefficient": 0.2,
    "in_channels": [8, 8],
    "out_channels": [8, 8],
    "kernel_sizes": [3, 3],
    "strides": [1, 2],
    "depthwise_padding": [],
    "num_block_repeats": [1, 1],
    "expand_ratios": [1, 2],
}


def pictures():
    random = np.random.default_rng(0)
    sizes = [(40, 50), (32, 32), (70, 20)]
    return [Image.fromarray(random.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in sizes]


def tokenizer(length=512):
    """One token a word, as BERT begins and ends a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=length,
    )


def processor_of(name, **settings):
    """Without torchvision version 5 has the image processors on Pillow under another name."""
    kind = getattr(transformers, f"{name}ImageProcessorPil", None)
    return (kind or getattr(transformers, f"{name}ImageProcessor"))(**settings)


def siglip():
    config = transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    images = processor_of("Siglip", size={"height": 32, "width": 32})
    processor = transformers.SiglipProcessor(images, tokenizer())
    return transformers.SiglipModel(config), processor


def siglip2():
    vision = {key: value for key, value in VISION.items() if key != "image_size"}
    config = transformers.Siglip2Config(
        text_config=TEXT, vision_config=vision | {"num_patches": 16}
    )
    images = processor_of("Siglip2", patch_size=8, max_num_patches=16)
    # Its class is in the processor's hands: another one would come back as this one.
    letters = {word: i for i, word in enumerate(("<pad>", "<eos>", "<bos>", "<unk>", *"ados"))}
    words = transformers.Siglip2Tokenizer(vocab=letters, merges=[])
    processor = transformers.Siglip2Processor(images, words)
    return transformers.Siglip2Model(config), processor


def align():
    config = transformers.AlignConfig(
        text_config=TEXT, vision_config=EFFICIENT_NET, projection_dim=8
    )
    images = processor_of("EfficientNet", size={"height": 32, "width": 32})
    return transformers.AlignModel(config), transformers.AlignProcessor(images, tokenizer())


def blip():
    config = transformers.BlipConfig(
        text_config=TEXT, vision_config=VISION, image_text_hidden_size=12
    )
    images = processor_of("Blip", size={"height": 32, "width": 32})
    model = transformers.BlipForImageTextRetrieval(config)
    return model, transformers.BlipProcessor(images, tokenizer())


KINDS = {"siglip": siglip, "siglip2": siglip2, "align": align, "blip": blip}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory per kind, and the library's own objects."""
    found = {}
    for name, make in KINDS.items():
        torch.manual_seed(0)
        model, processor = make()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        directory = tmp_path_factory.mktemp("models") / name
        model.save_pretrained(directory)
        processor.save_pretrained(directory)
        found[name] = directory, model.eval(), processor
    return found


def features(output):
    return getattr(output, "pooler_output", output)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["siglip", "siglip2", "align"])
@torch.no_grad()
def test_embeddings_are_those_of_the_librarys_own_call(kind, saved):
    directory, model, processor = saved[kind]
    encoder = open_encoder(f"transformers:{directory}", batch_size=2)
    padding = {"padding": "max_length", "truncation": True, "max_length": 64}
    inputs = processor.tokenizer(TEXTS, return_tensors="pt", **padding)
    if kind == "align":
        assert inputs.pop("token_type_ids", None) is None
    close(encoder.encode_text(TEXTS), features(model.get_text_features(**inputs)))
    expected = torch.cat(
        [
            features(
                model.get_image_features(**processor.image_processor(image, return_tensors="pt"))
            )
            for image in pictures()
        ]
    )
    close(encoder.encode_image(pictures()), expected)
    prepared = [encoder.prepare(picture) for picture in pictures()]
    assert torch.equal(encoder.encode_image(prepared), encoder.encode_image(pictures()))
    assert encoder.encode_text(TEXTS).shape[1] == expected.shape[1]
    assert encoder.context_length == 64


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_is_told_by_the_processors_tokens(kind, saved, caplog):
    directory, _, processor = saved[kind]
    encoder = open_encoder(f"transformers:{directory}")
    own = tokenizer_of(encoder)
    texts = ["qxzqxz " * 60, "a boat " * 31, "a boat " * 31 + "a", "a boat " * 300]
    whole = processor.tokenizer(texts, padding=False, truncation=False)["input_ids"]
    assert own.encode(texts) == whole
    cut = processor.tokenizer(texts, padding=False, truncation=True, max_length=64)["input_ids"]
    assert own.encode(texts, context_length=64) == cut
    if kind != "siglip2":  # a token for each word, and one before and behind
        assert list(map(len, whole)) == [62, 64, 65, 602]
        assert truncation(texts, encoder.context_length, tokenizer=own).texts_cut == 2
    assert truncation(texts, encoder.context_length).texts_cut == 3  # by CLIP's


@torch.no_grad()
def test_siglip_reads_padding_and_the_others_do_not(saved):
    """Batches must not decide how much of it there is."""
    for kind in KINDS:
        encoder = open_encoder(f"transformers:{saved[kind][0]}", batch_size=8)
        alone = torch.cat([encoder.encode_text([text]) for text in TEXTS])
        close(encoder.encode_text(TEXTS), alone)
        length = encoder._tokenize(["a"])["input_ids"].shape[1]
        assert length == (64 if "siglip" in kind else 3)


@torch.no_grad()
def test_blip_scores_are_those_of_its_contrastive_head(saved):
    directory, model, processor = saved["blip"]
    encoder = open_encoder(f"transformers:{directory}")
    texts, images = encoder.encode_text(TEXTS), encoder.encode_image(pictures())
    unit = torch.nn.functional.normalize
    settings = {"padding": True, "truncation": True, "max_length": 64, "return_tensors": "pt"}
    inputs = processor(images=pictures(), text=TEXTS, **settings)
    expected = model(**inputs, use_itm_head=False).itm_score
    close(unit(images, dim=-1) @ unit(texts, dim=-1).T, expected)


def test_clip_and_its_table_of_positions(tmp_path):
    model = longclip.stretch(small_clip())
    longclip.save(model, tmp_path / "clip")
    theirs = open_encoder(f"transformers:{tmp_path / 'clip'}")
    assert theirs.context_length == 248
    texts = ["a red boat", "", "many words " * 100 + "a dog", "many words " * 100 + "a boat"]
    close(theirs.encode_text(texts), model.encode_text(texts))
    # transformers cuts out the centre another way where it is not in the middle of a pixel
    even = [picture.resize((64, 64)) for picture in pictures()]
    close(theirs.encode_image(even), model.encode_image(even))

    # A tokenizer that was not told of the longer table must not shorten texts.
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "clip")
    processor.tokenizer.model_max_length = 77
    processor.save_pretrained(tmp_path / "clip")
    close(
        open_encoder(f"transformers:{tmp_path / 'clip'}").encode_text(texts),
        theirs.encode_text(texts),
    )


def test_the_shorter_limit_of_other_models_counts(saved, tmp_path):
    _, model, processor = saved["align"]
    model.save_pretrained(tmp_path)
    type(processor)(processor.image_processor, tokenizer(40)).save_pretrained(tmp_path)
    assert open_encoder(f"transformers:{tmp_path}").context_length == 40


def test_half_precision(saved):
    for kind in KINDS:
        encoder = open_encoder(f"transformers:{saved[kind][0]}", dtype=torch.bfloat16)
        text, image = encoder.encode_text(TEXTS), encoder.encode_image(pictures())
        assert text.dtype == image.dtype == torch.bfloat16
        assert text.isfinite().all()
        assert image.isfinite().all()


def test_fingerprints_tell_models_settings_and_tokenizers_apart(saved, tmp_path):
    _, model, _ = saved["blip"]
    directories = [directory for directory, *_ in saved.values()]
    for name, change in (("same", None), ("pixels", "image_mean"), ("eps", None), ("words", None)):
        directory = tmp_path / name
        model.config.vision_config.layer_norm_eps = 1e-3 if name == "eps" else 1e-5
        model.save_pretrained(directory)
        images = processor_of("Blip", size={"height": 32, "width": 32})
        if change:
            images.image_mean = [0.1, 0.2, 0.3]
        words = tokenizer(48 if name == "words" else 512)
        transformers.BlipProcessor(images, words).save_pretrained(directory)
        directories.append(directory)
    prints = [open_encoder(f"transformers:{directory}").fingerprint for directory in directories]
    assert prints[4] == prints[3]  # saved again in another place
    assert len(set(prints)) == len(prints) - 1


def test_weights_that_are_missing_are_not_left_random(saved, tmp_path):
    _, model, processor = saved["blip"]
    captioning = transformers.BlipForConditionalGeneration(model.config)
    captioning.save_pretrained(tmp_path / "captioning")
    processor.save_pretrained(tmp_path / "captioning")
    with pytest.raises(EncoderError, match=r"lacks \d+ weights of a BlipForImageTextRetrieval"):
        open_encoder(f"transformers:{tmp_path / 'captioning'}")


def test_what_is_no_dual_encoder_is_named(saved, tmp_path):
    bert = transformers.BertModel(transformers.BertConfig(**TEXT))
    bert.save_pretrained(tmp_path / "bert")
    tokenizer().save_pretrained(tmp_path / "bert")
    with pytest.raises(EncoderError, match="BertModel, which has no text and image tower"):
        open_encoder(f"transformers:{tmp_path / 'bert'}")

    _, model, _ = saved["align"]
    model.save_pretrained(tmp_path / "bare")
    tokenizer().save_pretrained(tmp_path / "bare")
    with pytest.raises(EncoderError, match="bare"):
        open_encoder(f"transformers:{tmp_path / 'bare'}")


def test_wrong_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in (str(tmp_path / "nothing"), "nobody/nothing"):
        with pytest.raises(EncoderError, match=f"transformers:{name} cannot be opened: .*; name a"):
            open_encoder(f"transformers:{name}")


def test_through_the_cache(saved, tmp_path):
    encoder = open_encoder(f"transformers:{saved['siglip'][0]}")
    cache = EmbeddingCache(tmp_path)
    fresh = embed_texts(encoder, TEXTS, cache=cache)
    encoder.encode_text = None
    assert torch.equal(embed_texts(encoder, TEXTS, cache=cache), fresh)
