"""A small checkpoint of every other family, made with the library whose kind it is."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers import matrix_sources
from tests.helpers.matrix_sources import JOINT, SIZE, Source
from tests.helpers.openclip_library import open_clip
from tests.helpers.other_towers import write_model
from tests.helpers.unigram import write_unigram

# Without capitals and punctuation, which SigLIP's tokenizer takes away and a bare file does not.
TEXTS = ["a red dog", "two small cats sleep in an old house", ""]
HALF = (0.5, 0.5, 0.5)
_TOWER = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
}
_VISION = {**_TOWER, "image_size": SIZE, "patch_size": 8}


def _owners_ids(directory: Path, length: int) -> Tensor:
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(directory / "tokenizer.json"), pad_token="<pad>"
    )
    given = tokenizer(TEXTS, padding="max_length", max_length=length, return_tensors="pt")
    ids: Tensor = given.input_ids
    return ids


def _source(directory: Path, model: Any, length: int, pixels: Tensor) -> Source:
    """Save a model of transformers with a vocabulary of its own."""
    model.save_pretrained(directory)
    text = model.get_text_features(_owners_ids(directory, length)).pooler_output
    return Source(directory, TEXTS, text, model.get_image_features(pixels).pooler_output)


def siglip(directory: Path) -> Source:
    """Fixed resolution, which is SigLIP 2's layout too."""
    import transformers

    vocabulary = write_unigram(
        directory,
        tokenizer_class="T5Tokenizer",
        model_max_length=64,
        pad_token="<pad>",
        # No mask: the padding is read.
        model_input_names=["input_ids"],
    )
    text = {**_TOWER, "vocab_size": vocabulary, "max_position_embeddings": 64, "pad_token_id": 0}
    text |= {"bos_token_id": 3, "eos_token_id": 1}
    config = transformers.SiglipConfig(text_config=text, vision_config=_VISION)
    torch.manual_seed(0)
    model = matrix_sources.randomised(transformers.SiglipModel(config))
    size = {"height": SIZE, "width": SIZE}
    transformers.SiglipImageProcessor(size=size).save_pretrained(directory)
    return _source(directory, model, 64, matrix_sources.pixels(HALF, HALF))


def _clip_of_another_vocabulary(directory: Path, config: type, model: type) -> Source:
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77}
    vocabulary = write_unigram(directory, begin="<s>", **kind, **special)
    ids = {"bos_token_id": 3, "eos_token_id": 1, "pad_token_id": 0}
    text = {**_TOWER, "vocab_size": vocabulary, **ids}
    made = config(text_config=text, vision_config=_VISION, projection_dim=JOINT)
    torch.manual_seed(0)
    whole = matrix_sources.randomised(model(made))
    return _source(directory, whole, 77, matrix_sources.pixels())


def metaclip_2(directory: Path) -> Source:
    """A CLIP with ids of its own, whose texts are read at the first end."""
    import transformers

    return _clip_of_another_vocabulary(
        directory, transformers.MetaClip2Config, transformers.MetaClip2Model
    )


def other_language(directory: Path) -> Source:
    """transformers' CLIPModel with a vocabulary of its own."""
    import transformers

    return _clip_of_another_vocabulary(directory, transformers.CLIPConfig, transformers.CLIPModel)


def fg_clip(directory: Path) -> Source:
    """Its path for long texts, as the CLIP that this is."""
    stock = matrix_sources.huggingface(directory / "stock")
    shutil.copytree(stock.path, directory / "fg-clip")
    path = directory / "fg-clip" / "model.safetensors"
    tensors = load_file(path)
    positions = "text_model.embeddings.position_embedding"
    table = tensors[f"{positions}.weight"]
    rows = torch.cat([table, torch.ones(248 - 77, table.shape[1])])
    for name, kept in (("ori", slice(20)), ("res", slice(20, None))):
        own = torch.ones_like(rows)
        own[kept] = rows[kept]
        tensors[f"{positions}_{name}.weight"] = own
    tensors["text_filip_projection.weight"] = tensors["text_projection.weight"]
    tensors["text_projection.weight"] = torch.ones_like(tensors["text_projection.weight"])
    save_file(tensors, path)
    return Source(directory / "fg-clip", stock.texts, stock.text, stock.image)


def geometric(directory: Path) -> Source:
    """Inner layers of the towers as a radius and a direction for each output."""
    stock = matrix_sources.openai_state_dict(directory)
    stored = torch.load(stock.path)
    layers = [name.removesuffix(".weight") for name in stored if name.endswith("c_fc.weight")]
    for layer in layers:
        weight = stored.pop(f"{layer}.weight").float()
        stored[f"{layer}.r"] = weight.norm(dim=1, keepdim=True)
        stored[f"{layer}.theta"] = weight * 2
    torch.save(stored, stock.path)
    return stock


def _openclip(kind: str, directory: Path) -> Source:
    path = write_model(kind, directory)
    library = open_clip()
    model = library.create_model(f"local-dir:{path}").eval()
    ids = library.get_tokenizer(f"local-dir:{path}")(TEXTS)
    size = model.visual.image_size
    images = matrix_sources.pixels(HALF, HALF, size if isinstance(size, int) else size[0])
    return Source(path, TEXTS, model.encode_text(ids), model.encode_image(images))


def openclip_timm(directory: Path) -> Source:
    """A ViT of timm, as PE-Core, EVA-02 and MobileCLIP 2 have others of timm's networks."""
    return _openclip("timm", directory)


def openclip_resnet(directory: Path) -> Source:
    return _openclip("resnet", directory)


FAMILIES = {
    "fg-clip": fg_clip,
    "geometric": geometric,
    "other-language": other_language,
    "metaclip-2": metaclip_2,
    "siglip": siglip,
    "openclip-timm": openclip_timm,
    "openclip-resnet": openclip_resnet,
}
"""Functions that make a source in a directory, by the names of the documented table."""
