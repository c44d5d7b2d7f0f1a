"""A small checkpoint of every kind, made with the library whose kind it is, and its embeddings.

All numbers fit half precision, which OpenAI's code stores them in.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import longclip
from longclip.image.preprocess import OPENAI_MEAN, OPENAI_STD, Preprocess
from tests.helpers.openai_library import openai_clip
from tests.helpers.openclip_library import open_clip

TEXTS = ["a red boat", "two old dogs on a bridge at dusk, and nobody else", ""]
LONG = "a word more " * 45
SIZE, WIDTH, JOINT = 32, 64, 24
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Source:
    """A checkpoint and what its own library makes of `texts` and `pictures()`.

    Attributes:
        path: the file or directory.
        texts: what was embedded.
        text: float32 [N, D].
        image: float32 [N, D]; None for a text tower.
    """

    path: Path
    texts: list[str]
    text: Tensor
    image: Tensor | None


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def pixels(
    mean: tuple[float, ...] = OPENAI_MEAN, std: tuple[float, ...] = OPENAI_STD, size: int = SIZE
) -> Tensor:
    preprocess = Preprocess(size, tuple(mean), tuple(std))
    return torch.stack([preprocess(picture) for picture in pictures()])


def padded(texts: list[str], length: int) -> Tensor:
    ids = longclip.tokenize(texts, context_length=length)
    return nn.functional.pad(ids, (0, length - ids.shape[1]), value=49407)


def randomised(model: nn.Module) -> Any:
    """Nothing at its neutral initial value, everything exact in half precision."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
            parameter.copy_(parameter.half())
    return model.eval()


def _openai_model(length: int = 77, joint: int = JOINT) -> Any:
    torch.manual_seed(0)
    return randomised(openai_clip().CLIP(joint, SIZE, 2, 128, 8, length, 49408, WIDTH, 1, 2))


def _openai_source(
    path: Path, model: Any, texts: list[str], normalization: Any = (OPENAI_MEAN, OPENAI_STD)
) -> Source:
    length = model.positional_embedding.shape[0]
    text = model.encode_text(padded(texts, length))
    return Source(path, texts, text, model.encode_image(pixels(*normalization)))


def openai_archive(directory: Path) -> Source:
    """TorchScript, as OpenAI publishes them."""
    model, path = _openai_model(), directory / "ViT-B-16.pt"
    source = _openai_source(path, model, TEXTS)
    del model.context_length, model.vocab_size
    for name, value in (("input_resolution", SIZE), ("context_length", 77), ("vocab_size", 49408)):
        model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = pixels(), padded(TEXTS[:2], 77)
        torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), path)
    return source


def openai_state_dict(directory: Path) -> Source:
    model, path = _openai_model(), directory / "clip.pt"
    entries = {"input_resolution": SIZE, "context_length": 77, "vocab_size": 49408}
    torch.save(model.half().state_dict() | {k: torch.tensor(v) for k, v in entries.items()}, path)
    return _openai_source(path, model.float(), TEXTS)


def long_clip(directory: Path) -> Source:
    """Two position tables: the first rows of the one, the later rows of the other."""
    model, path = _openai_model(248), directory / "longclip-B.pt"
    state = dict(model.state_dict())
    state["positional_embedding"] = torch.cat(
        [model.positional_embedding[:20], torch.ones(228, 64)]
    )
    state["positional_embedding_res"] = torch.cat(
        [torch.ones(20, 64), model.positional_embedding[20:]]
    )
    torch.save(state, path)
    return _openai_source(path, model, [*TEXTS, LONG + "boat", LONG + "dog"])


def declip(directory: Path, bias: Tensor | None = None, joint: int = JOINT) -> Source:
    """Names of its own, a mask token among the others, ImageNet's mean."""
    model, path = _openai_model(joint=joint), directory / "declip.pth.tar"
    state = {}
    for name, tensor in model.state_dict().items():
        if name == "token_embedding.weight":
            tensor = torch.cat([tensor[:49406], torch.ones(1, WIDTH), tensor[49406:]])
        elif name == "text_projection":
            name, tensor = "text_projection.weight", tensor.T.contiguous()
        elif name == "logit_scale":
            tensor = tensor[None]
        own = name if name.startswith(("visual.", "logit_scale")) else f"encode_text.{name}"
        state[f"module.{own}"] = tensor
    if bias is not None:
        state["module.encode_text.text_projection.bias"] = bias
    torch.save({"model": state}, path)
    source = _openai_source(path, model, TEXTS, IMAGENET)
    return source if bias is None else replace(source, text=source.text + bias)


def declip_with_bias(directory: Path) -> Source:
    """A joint space narrower than the tower: the final layer norm can take the bias."""
    return declip(directory, 0.1 * torch.ones(JOINT))


def declip_with_wide_bias(directory: Path) -> Source:
    """A wider one, as in the released models: nothing can."""
    return declip(directory, 0.1 * torch.ones(2 * WIDTH), joint=2 * WIDTH)


def _openclip_source(path: Path, config: dict[str, Any], *, quick_gelu: bool) -> Source:
    library = open_clip()
    torch.manual_seed(0)
    model = randomised(library.CLIP(**config, quick_gelu=quick_gelu))
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if path.suffix == ".bin":
        torch.save(state, path)
    else:
        save_file(state, path / "open_clip_model.safetensors")
    return Source(path, TEXTS, model.encode_text(padded(TEXTS, 77)), model.encode_image(pixels()))


OPENCLIP = {
    "embed_dim": JOINT,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 128, "patch_size": 8},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": WIDTH,
        "heads": 1,
        "layers": 2,
    },
}


def openclip_file(directory: Path) -> Source:
    """Bare weights, GELU since nothing says otherwise."""
    return _openclip_source(directory / "weights.bin", OPENCLIP, quick_gelu=False)


def openclip_directory(directory: Path) -> Source:
    """With a configuration, which says quick-GELU here."""
    content = {"model_cfg": OPENCLIP | {"quick_gelu": True}, "preprocess_cfg": {}}
    (directory / "open_clip_config.json").write_text(json.dumps(content))
    return _openclip_source(directory, OPENCLIP, quick_gelu=True)


_HF_TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "projection_dim": JOINT,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}


def huggingface(directory: Path) -> Source:
    import transformers

    vision = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": 8,
    }
    config = transformers.CLIPConfig(
        text_config=_HF_TEXT, vision_config=vision, projection_dim=JOINT
    )
    model = randomised(transformers.CLIPModel(config))
    model.save_pretrained(directory)
    text = model.get_text_features(padded(TEXTS, 77)).pooler_output
    return Source(directory, TEXTS, text, model.get_image_features(pixels()).pooler_output)


def sdxl_text_tower(directory: Path) -> Source:
    """As SDXL's text_encoder_2: the text tower alone, 32 layers, GELU, with a projection."""
    import transformers

    values = {**_HF_TEXT, "num_hidden_layers": 32, "hidden_act": "gelu"}
    config = transformers.CLIPTextConfig(**values)
    model = randomised(transformers.CLIPTextModelWithProjection(config))
    model.save_pretrained(directory)
    return Source(directory, TEXTS, model(padded(TEXTS, 77)).text_embeds, None)


SOURCES: dict[str, Callable[[Path], Source]] = {
    "openai-archive": openai_archive,
    "openai-state-dict": openai_state_dict,
    "long-clip": long_clip,
    "openclip-file": openclip_file,
    "openclip-directory": openclip_directory,
    "huggingface": huggingface,
    "sdxl-text-tower": sdxl_text_tower,
    "declip": declip,
    "declip-with-bias": declip_with_bias,
    "declip-with-wide-bias": declip_with_wide_bias,
}
