"""Choice of files to fetch, on listings like those of the public repositories."""

from pathlib import Path

import pytest

from longclip.diffusion.pipeline_files import choose, choose_local
from tests.helpers.saved_pipelines import saved_pipeline

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "image_encoder": [None, None],
    "requires_safety_checker": True,
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
SMALL = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
]
OTHERS = [
    "README.md",
    "v1-5-pruned.ckpt",
    "v1-5-pruned.safetensors",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.onnx",
    "text_encoder/pytorch_model.bin",
    "text_encoder/pytorch_model.fp16.bin",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/modeling.py",
    "vae_1_0/diffusion_pytorch_model.safetensors",
]
FULL = ["text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"]
HALF = ["text_encoder/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"]


def test_one_set_of_weights() -> None:
    files = [*SMALL, *OTHERS, *FULL, *HALF]
    full, half = (choose(files, INDEX, half=half) for half in (False, True))
    assert set(full.files) == {*SMALL, *FULL}
    assert set(half.files) == {*SMALL, *HALF}
    assert (full.variant, half.variant) == (None, "fp16")
    assert not full.pickled
    assert not full.missing


def test_the_other_set_where_there_is_but_one() -> None:
    assert choose([*SMALL, *HALF], INDEX, half=False).variant == "fp16"
    assert set(choose([*SMALL, *FULL], INDEX, half=True).files) == {*SMALL, *FULL}


@pytest.mark.parametrize("half", [False, True])
def test_shards(half: bool) -> None:
    kind = ".fp16" if half else ""
    shards = [f"unet/diffusion_pytorch_model{kind}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = f"unet/diffusion_pytorch_model.safetensors.index{kind}.json"
    other = "unet/diffusion_pytorch_model.safetensors.index.bf16.json"
    files = [*SMALL, FULL[0], *shards, index, other]
    assert set(choose(files, INDEX, half=half).files) == {*SMALL, FULL[0], *shards, index}
    files.remove(shards[1])
    assert choose(files, INDEX, half=half).missing == ("unet",)


def test_pickles_and_holes() -> None:
    assert choose([*SMALL, *OTHERS, FULL[0]], INDEX, half=False).pickled == ("unet",)
    assert choose([*SMALL, FULL[1]], INDEX, half=False).missing == ("text_encoder",)
    without = [file for file in SMALL if not file.startswith("scheduler")]
    assert choose([*without, *FULL], INDEX, half=False).missing == ("scheduler",)


def test_what_diffusers_writes_is_whole(tmp_path: Path) -> None:
    found = choose_local(saved_pipeline("sdxl"), half=False)
    everything = saved_pipeline("sdxl").rglob("*.*")
    assert {str(saved_pipeline("sdxl") / file) for file in found.files} == {*map(str, everything)}
    assert (found.variant, found.pickled, found.missing) == (None, (), ())
    with pytest.raises(ValueError, match=r"no model_index.json; .*from_single_file"):
        choose_local(tmp_path, half=False)
    for broken in ("{", "[" * 100_000):
        (tmp_path / "model_index.json").write_text(broken)
        with pytest.raises(ValueError, match=r"model_index.json is not JSON"):
            choose_local(tmp_path, half=False)
    for other in ("[1]", "null", "{}"):
        (tmp_path / "model_index.json").write_text(other)
        with pytest.raises(ValueError, match=r"model_index.json is not a pipeline's"):
            choose_local(tmp_path, half=False)
