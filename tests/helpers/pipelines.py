"""Pipelines of each family with random weights, made in memory: real vocabulary, tiny widths.

Their text weights are so large that every word and every place shows in the result. Most of the
time goes into copies of the tokenizer; with `small` it knows the words of this file alone, reads
them as the real one does (with other ids), and all is ten times as fast.
"""

import copy
import functools
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from longclip.model import CLIP, CLIPConfig, TextConfig
from longclip.text.tokenizer_files import write_tokenizer_files

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

Family = Literal["sd1", "sd2", "sdxl", "refiner"]
FAMILIES: tuple[Family, ...] = ("sd1", "sd2", "sdxl", "refiner")

VOCABULARY = 49408
FIRST_WIDTH = 32
SECOND_WIDTH = 48
PROJECTION = 40

# Nine tokens: eight are within 77 and nine beyond, twenty-seven within 248.
SENTENCE = "a small red boat lies near the shore. "
WORDS = [f"{word}</w>" for word in f"{SENTENCE.replace('.', ' .')} dog cat blurry".split()]


def text_config(
    family: Family, slot: str = "text_encoder", layers: int | None = None, small: bool = False
) -> Any:
    """The shape of a family's encoder; `layers` overrides their number."""
    end = len(_tokenizer(small)) - 1 if small else VOCABULARY - 1
    second = slot == "text_encoder_2"
    width = SECOND_WIDTH if second else FIRST_WIDTH
    return transformers.CLIPTextConfig(
        vocab_size=end + 1,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=PROJECTION if second else width,
        # SD 2's published directory leaves the last of its encoder's layers out.
        num_hidden_layers=layers or (3 if family == "sd2" else 4),
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act="gelu" if second or family == "sd2" else "quick_gelu",
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=1 if second else end,
    )


def randomize(module: Any, seed: int) -> Any:
    """Large random weights, the same at every call."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name:
                parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.1, generator=random)
            elif "embedding" in name:
                parameter.normal_(0.0, 0.5, generator=random)
            else:
                parameter.normal_(0.0, 0.25, generator=random)
    return module.eval()


def tiny_encoder(family: Family, slot: str = "text_encoder", small: bool = False) -> Any:
    """A text encoder with 77 positions."""
    second = slot == "text_encoder_2"
    kind = transformers.CLIPTextModelWithProjection if second else transformers.CLIPTextModel
    return randomize(kind(text_config(family, slot, small=small)), seed=2 if second else 1)


@functools.cache
def _tokenizer(small: bool) -> Any:
    with tempfile.TemporaryDirectory() as name:
        write_tokenizer_files(name, 77)
        if small:
            _leave_words_only(Path(name))
        return transformers.CLIPTokenizer.from_pretrained(name)


def _leave_words_only(directory: Path) -> None:
    """Drops all merges but those that WORDS are made with, which are then read as before."""
    whole = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    model = whole["model"]
    merges = [pair.split() if isinstance(pair, str) else pair for pair in model["merges"]]
    merges = [pair for pair in merges if any("".join(pair) in word for word in WORDS)]
    pieces = [*list(model["vocab"])[:512], *map("".join, merges)]
    special = ["<|startoftext|>", "<|endoftext|>"]
    ids = {piece: number for number, piece in enumerate([*pieces, *special])}
    model |= {"vocab": ids, "merges": merges}
    for token in whole["added_tokens"]:
        token["id"] = ids[token["content"]]
    for end in ("sep", "cls"):
        whole["post_processor"][end][1] = ids[whole["post_processor"][end][0]]
    (directory / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    (directory / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def tiny_tokenizer(pad: str = "<|endoftext|>", small: bool = False) -> Any:
    """CLIP's tokenizer; SD 2's and SDXL's second one pad with "!", which is id 0."""
    tokenizer = copy.deepcopy(_tokenizer(small))
    tokenizer.pad_token = pad
    return tokenizer


def tiny_unet(width: int, **more: Any) -> Any:
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        **more,
    ).eval()


def tiny_vae() -> Any:
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()


def tiny_pipeline(family: Family, small: bool = False) -> Any:
    """A pipeline of one family: text to image, but for the refiner, which starts from a picture."""
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    parts = {"vae": tiny_vae(), "scheduler": scheduler}
    if family in ("sd1", "sd2"):
        pipeline = diffusers.StableDiffusionPipeline(
            **parts,
            text_encoder=tiny_encoder(family, small=small),
            tokenizer=tiny_tokenizer("!" if family == "sd2" else "<|endoftext|>", small),
            unet=tiny_unet(FIRST_WIDTH),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    else:
        parts |= {
            "text_encoder_2": tiny_encoder(family, "text_encoder_2", small),
            "tokenizer_2": tiny_tokenizer("!", small),
        }
        if family == "sdxl":
            pipeline = diffusers.StableDiffusionXLPipeline(
                **parts,
                text_encoder=tiny_encoder(family, small=small),
                tokenizer=tiny_tokenizer(small=small),
                unet=_xl_unet(FIRST_WIDTH + SECOND_WIDTH, sizes=6),
                force_zeros_for_empty_prompt=True,
                add_watermarker=False,
            )
        else:
            pipeline = diffusers.StableDiffusionXLImg2ImgPipeline(
                **parts,
                text_encoder=None,
                tokenizer=None,
                unet=_xl_unet(SECOND_WIDTH, sizes=5),
                requires_aesthetics_score=True,
                force_zeros_for_empty_prompt=False,
                add_watermarker=False,
            )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _xl_unet(width: int, sizes: int) -> Any:
    return tiny_unet(
        width,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=sizes * 8 + PROJECTION,
        use_linear_projection=True,
    )


def tiny_controlnet(pipeline: Any) -> Any:
    """A ControlNet that fits a pipeline's U-Net."""
    torch.manual_seed(0)
    return diffusers.ControlNetModel.from_unet(
        pipeline.unet, conditioning_embedding_out_channels=(8, 8)
    ).eval()


def tiny_clip(
    family: Family,
    slot: str = "text_encoder",
    *,
    context_length: int = 248,
    layers: int = 4,
    small: bool = False,
) -> CLIP:
    """The text tower of a Long-CLIP that fits a pipeline's encoder, with weights of its own."""
    config = text_config(family, slot, layers, small).to_dict()
    text = TextConfig.from_json(config | {"max_position_embeddings": context_length})
    model = CLIP(CLIPConfig(text=text, vision=None, projection_dim=config["projection_dim"]))
    return randomize(model, seed=3)


def image_of(pipeline: Any, prompt: Any = None, **more: Any) -> torch.Tensor:
    """One denoising step with a fixed seed: [N, 3, 16, 16]."""
    if "image" not in more and "Img2Img" in type(pipeline).__name__:
        more["image"] = torch.full((1, 3, 16, 16), 0.5)
        more.setdefault("strength", 1.0)
    else:
        more.setdefault("height", 16)
        more.setdefault("width", 16)
    return pipeline(
        prompt,
        num_inference_steps=1,
        output_type="pt",
        generator=torch.Generator().manual_seed(0),
        **more,
    ).images
