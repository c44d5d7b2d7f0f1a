from types import SimpleNamespace
from typing import Any

import pytest

from longclip.diffusion.pipeline import FIRST, SECOND, is_xl, text_slots
from tests.helpers.pipelines import FAMILIES, Family, diffusers, tiny_pipeline, transformers


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family(family: Family) -> None:
    pipeline = tiny_pipeline(family)
    expected = {"sdxl": (FIRST, SECOND), "refiner": (SECOND,)}.get(family, (FIRST,))
    assert text_slots(pipeline) == expected
    assert is_xl(pipeline) is (family in ("sdxl", "refiner"))


@pytest.mark.parametrize("name", ["StableDiffusionInpaintPipeline", "StableDiffusionPAGPipeline"])
def test_other_pipelines_of_a_family(name: str) -> None:
    pipeline = getattr(diffusers, name).from_pipe(tiny_pipeline("sd1"))
    assert text_slots(pipeline) == (FIRST,)


def clip() -> Any:
    return SimpleNamespace(config=transformers.CLIPTextConfig())


def t5() -> Any:
    return SimpleNamespace(config=transformers.T5Config())


class Other:
    def __init__(self, **parts: Any) -> None:
        self.__dict__ |= {"tokenizer": 1, "tokenizer_2": 1, **parts}

    def encode_prompt(self) -> None: ...


@pytest.mark.parametrize(
    "parts",
    [
        {"unet": 1, "text_encoder": clip(), "text_encoder_2": clip(), "text_encoder_3": t5()},
        {"unet": 1, "text_encoder": clip(), "text_encoder_2": t5()},
        {"unet": 1, "text_encoder": t5()},
        {"transformer": 1, "text_encoder": clip()},
    ],
    ids=["like SD 3", "like Flux", "T5 alone", "no U-Net"],
)
def test_other_families(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Other does not read.*longclip\.diffusion knows"):
        text_slots(Other(**parts))


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("sd1", "text_encoder", "loaded without its text_encoder"),
        ("sdxl", "text_encoder_2", "loaded without its text_encoder_2"),
        ("sdxl", "tokenizer", "has a text_encoder and no tokenizer"),
    ],
)
def test_missing_parts(family: Family, name: str, message: str) -> None:
    pipeline = tiny_pipeline(family)
    setattr(pipeline, name, None)
    with pytest.raises(ValueError, match=message):
        text_slots(pipeline)


def test_instruct_pix2pix_is_refused_with_its_own_reason() -> None:
    """It reads its prompts with CLIP, but there is no way in."""

    class StableDiffusionInstructPix2PixPipeline:
        unet = tokenizer = object()
        text_encoder = SimpleNamespace(config=SimpleNamespace(model_type="clip_text_model"))

        def _encode_prompt(self) -> None: ...

    with pytest.raises(ValueError, match=r"but inside its own call: .* a pipeline for SDXL"):
        text_slots(StableDiffusionInstructPix2PixPipeline())
