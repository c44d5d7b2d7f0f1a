"""Offloading stays as it was, on whatever encoders the pipeline has."""

from typing import Any

import pytest
import torch

from longclip.diffusion import apply, undo
from tests.helpers.applied_pipelines import LONG, tiny_clip, tiny_pipeline
from tests.helpers.pipelines import SENTENCE, image_of


class TestOffloading:
    def test_whole_models(self) -> None:
        from accelerate.hooks import CpuOffload

        expected = image_of(apply(tiny_pipeline("sdxl")), LONG)
        pipeline = tiny_pipeline("sdxl")
        short = image_of(pipeline, SENTENCE)
        pipeline.enable_model_cpu_offload(device="cpu")
        original = pipeline.text_encoder
        apply(pipeline)
        assert not hasattr(original, "_hf_hook")
        for name in ("text_encoder", "text_encoder_2", "unet", "vae"):
            assert isinstance(getattr(pipeline, name)._hf_hook, CpuOffload), name
        assert torch.equal(image_of(pipeline, LONG), expected)
        undo(pipeline)
        assert isinstance(original._hf_hook, CpuOffload)
        assert torch.equal(image_of(pipeline, SENTENCE), short)

    def test_layer_by_layer(self) -> None:
        """Accelerate itself cannot run layers of a CPU from a CPU, so only places are looked at."""
        expected = image_of(apply(tiny_pipeline("sd1")), LONG)
        pipeline = tiny_pipeline("sd1")
        pipeline.enable_sequential_cpu_offload(device="cpu")
        apply(pipeline, text_encoder=tiny_clip("sd1"))
        apply(pipeline)
        assert {weight.device.type for weight in pipeline.text_encoder.parameters()} == {"meta"}
        assert pipeline._execution_device == torch.device("cpu:0")
        pipeline.remove_all_hooks()
        assert torch.equal(image_of(pipeline, LONG), expected)
        pipeline.enable_sequential_cpu_offload(device="cpu")
        undo(pipeline)
        assert {weight.device.type for weight in pipeline.text_encoder.parameters()} == {"meta"}
        pipeline.remove_all_hooks()
        assert torch.equal(image_of(pipeline, LONG), image_of(tiny_pipeline("sd1"), LONG))

    @pytest.mark.parametrize(
        "kind",
        [
            {"offload_type": "leaf_level"},
            {"offload_type": "block_level", "num_blocks_per_group": 1},
        ],
        ids=["leaves", "blocks"],
    )
    def test_groups(self, kind: dict[str, Any]) -> None:
        from diffusers.hooks import apply_group_offloading
        from diffusers.hooks.group_offloading import _is_group_offload_enabled

        expected = image_of(apply(tiny_pipeline("sd1")), LONG)
        pipeline = tiny_pipeline("sd1")
        original, short = pipeline.text_encoder, image_of(pipeline, SENTENCE)
        apply_group_offloading(original, onload_device="cpu", offload_device="cpu", **kind)
        apply(pipeline)
        assert _is_group_offload_enabled(pipeline.text_encoder)
        assert not _is_group_offload_enabled(original)
        assert torch.equal(image_of(pipeline, LONG), expected)
        undo(pipeline)
        assert _is_group_offload_enabled(original)
        assert torch.equal(image_of(pipeline, SENTENCE), short)

    def test_device_maps(self) -> None:
        pipeline = tiny_pipeline("sd1")
        pipeline.enable_model_cpu_offload(device="cpu")
        pipeline.hf_device_map = {"text_encoder": 0, "unet": 1}
        with pytest.raises(ValueError, match="reset_device_map"):
            apply(pipeline)

    def test_after_an_error_it_is_on_again(self) -> None:
        pipeline = tiny_pipeline("sd1")
        pipeline.enable_model_cpu_offload(device="cpu")
        original = pipeline.text_encoder
        with pytest.raises(ValueError, match="does not fit"):
            apply(pipeline, text_encoder=tiny_clip("sd2"))
        assert pipeline.text_encoder is original
        assert hasattr(original, "_hf_hook")
        assert "encode_prompt" not in vars(pipeline)
