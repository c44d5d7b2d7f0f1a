"""Text towers written here as the text encoders of diffusers' pipelines."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import longclip
from longclip.model import CLIP, CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from tests.helpers.plug_and_play import LONG_TEXTS, close, real_clip

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

PROMPT = LONG_TEXTS[0]
VISION = VisionConfig(64, 64, 1, 1, image_size=32, patch_size=16)

# Text towers: the real shapes, and narrower ones that are quick.
CLIP_L = TextConfig(768, 3072, 12, 12)
CLIP_G = TextConfig(1280, 5120, 32, 20, hidden_act="gelu")
NARROW_L = TextConfig(128, 512, 12, 2)
NARROW_G = TextConfig(192, 768, 4, 3, hidden_act="gelu")

slow = pytest.mark.slow


def write_tower(text: TextConfig, directory: Path) -> CLIP:
    """A stretched CLIP whose text tower lies in `directory`, written by convert."""
    model = real_clip(CLIPConfig(text=text, vision=VISION, projection_dim=text.hidden_size))
    whole = directory.with_suffix(".whole")
    longclip.save(model, whole)
    convert(whole, directory, "hf-text")
    shutil.rmtree(whole)
    return model


@torch.inference_mode()
def hidden_states(model: CLIP) -> Any:
    """All layers for PROMPT, computed from the weights in memory and never from a file."""
    text = model.config.text
    assert text
    config = transformers.CLIPTextConfig(
        **{**model.config.to_json()["text_config"], "projection_dim": model.embedding_dim}
    )
    reference = transformers.CLIPTextModel(config).eval()
    # Version 4 has one module more around the tower.
    tower = getattr(reference, "text_model", reference)
    tower.load_state_dict(model.text_model.state_dict(), assign=True)
    ids = longclip.tokenize(PROMPT)
    ids = torch.nn.functional.pad(ids, (0, 248 - ids.shape[1]), value=text.pad_token_id)
    return reference(ids, output_hidden_states=True)


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
    )


def tiny_vae() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )


def scheduler() -> Any:
    return diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)


def loaded(kind: str, directory: Path) -> Any:
    """A component, all of whose weights were in the directory."""
    model, report = getattr(transformers, kind).from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    return model


def image_of(pipeline: Any) -> Tensor:
    """One denoising step under guidance, with a negative prompt."""
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(0)
    images = pipeline(
        PROMPT,
        negative_prompt="blurry",
        num_inference_steps=1,
        height=16,
        width=16,
        output_type="pt",
        generator=seed,
    ).images
    assert images.shape == (1, 3, 16, 16)
    assert bool(images.isfinite().all())
    return images


def saved_and_loaded(pipeline: Any, directory: Path) -> Any:
    pipeline.save_pretrained(directory)
    again = type(pipeline).from_pretrained(directory)
    assert torch.equal(image_of(again), image_of(pipeline))
    return again


def check_component(directory: Path, name: str, kind: str, expected: Tensor) -> None:
    """One encoder out of a saved pipeline, in transformers and here."""
    number = name.removeprefix("text_encoder")
    encoder = getattr(transformers, kind).from_pretrained(directory, subfolder=name)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(
        directory, subfolder=f"tokenizer{number}"
    )
    assert tokenizer.model_max_length == 248
    assert encoder.config.max_position_embeddings == 248
    close(longclip.load(directory / name).encode_text(PROMPT), expected)


def test_the_prompt_is_long() -> None:
    assert 200 < longclip.tokenize(PROMPT).shape[1] < 248


@pytest.mark.parametrize(
    "text", [NARROW_L, pytest.param(CLIP_L, marks=slow)], ids=["narrow", "ViT-L"]
)
@torch.inference_mode()
def test_stable_diffusion(text: TextConfig, tmp_path: Path) -> None:
    model = write_tower(text, tmp_path / "clip-l")
    pipeline = diffusers.StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=loaded("CLIPTextModel", tmp_path / "clip-l"),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(tmp_path / "clip-l"),
        unet=tiny_unet(text.hidden_size),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    again = saved_and_loaded(pipeline, tmp_path / "pipeline")
    expected = hidden_states(model)
    embeddings, _ = again.encode_prompt(PROMPT, "cpu", 1, False)
    assert embeddings.shape == (1, 248, text.hidden_size)
    close(embeddings, expected.last_hidden_state)
    # At the end of the text stands what the embedding is made of.
    end = longclip.tokenize(PROMPT).shape[1] - 1
    close(model.text_projection(embeddings[:, end]), model.encode_text(PROMPT))
    check_component(tmp_path / "pipeline", "text_encoder", "CLIPTextModel", expected.pooler_output)

    # And without a line of code: the directory in the place of two folders of a pipeline.
    for folder in ("text_encoder", "tokenizer"):
        shutil.rmtree(tmp_path / "pipeline" / folder)
        (tmp_path / "pipeline" / folder).symlink_to(tmp_path / "clip-l")
    swapped = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "pipeline")
    assert torch.equal(swapped.encode_prompt(PROMPT, "cpu", 1, False)[0], embeddings)


@pytest.mark.parametrize(
    ("first", "second"),
    [(NARROW_L, NARROW_G), pytest.param(CLIP_L, CLIP_G, marks=slow)],
    ids=["narrow", "ViT-L-and-bigG"],
)
@torch.inference_mode()
def test_stable_diffusion_xl(first: TextConfig, second: TextConfig, tmp_path: Path) -> None:
    first_model = write_tower(first, tmp_path / "clip-l")
    second_model = write_tower(second, tmp_path / "clip-g")
    widths = [first.hidden_size, second.hidden_size]
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=loaded("CLIPTextModel", tmp_path / "clip-l"),
        text_encoder_2=loaded("CLIPTextModelWithProjection", tmp_path / "clip-g"),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(tmp_path / "clip-l"),
        tokenizer_2=transformers.CLIPTokenizer.from_pretrained(tmp_path / "clip-g"),
        unet=tiny_unet(
            sum(widths),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + widths[1],
            use_linear_projection=True,
        ),
        scheduler=scheduler(),
        add_watermarker=False,
    )
    again = saved_and_loaded(pipeline, tmp_path / "pipeline")
    embeddings, _, pooled, _ = again.encode_prompt(
        PROMPT, device="cpu", do_classifier_free_guidance=False
    )
    assert embeddings.shape == (1, 248, sum(widths))
    states = hidden_states(first_model), hidden_states(second_model)
    close(embeddings[..., : widths[0]], states[0].hidden_states[-2])
    close(embeddings[..., widths[0] :], states[1].hidden_states[-2])
    close(pooled, second_model.encode_text(PROMPT))
    check_component(tmp_path / "pipeline", "text_encoder", "CLIPTextModel", states[0].pooler_output)
    check_component(tmp_path / "pipeline", "text_encoder_2", "CLIPTextModelWithProjection", pooled)
