"""Every configuration in OpenCLIP's wheel: read as it is meant, or refused with the reason."""

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import longclip
from longclip.checkpoints.formats import openclip
from longclip.errors import UsageError
from longclip.model.config import CLIPConfig
from tests.helpers.openclip_library import open_clip


def configs() -> dict[str, Path]:
    package = find_spec("open_clip")
    if not package or not package.origin:
        pytest.skip("open_clip is not installed", allow_module_level=True)
    folder = Path(package.origin).parent / "model_configs"
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


REFUSED = {
    "CLIPA": "CLIPA",
    "coca": "CoCa",
    "mt5": "google/mt5",
    "nllb": "facebook/nllb",
    "roberta": "roberta",
}
"""A part of the name of each family that is refused, and what the refusal names."""


def test_each_is_read_or_refused_with_the_reason() -> None:
    found: Counter[str] = Counter()
    for name, path in configs().items():
        family = next((part for part in REFUSED if part in name and "xlm-v" not in name), None)
        content = {"model_cfg": json.loads(path.read_text())}
        if family:
            with pytest.raises(UsageError, match=f"{REFUSED[family]}|CoCa"):
                openclip.describe(content)
            found["refused"] += 1
            continue
        config = CLIPConfig.from_json(openclip.describe(content))
        found["stock" if config.layout == "clip" else "own layout"] += 1
    # Of open_clip 3.3; a later one may have more of each.
    assert found["stock"] >= 31
    assert found["own layout"] >= 94
    assert found["refused"] >= 19


def shrunk(model: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with all that decides how a network computes, in a small size.

    Image towers of other libraries become a small ResNet: they are theirs whatever their size.
    """
    text, vision = dict(model["text_cfg"]), dict(model["vision_cfg"])
    text |= {"width": 48, "heads": 3, "layers": 2, "vocab_size": 500}
    if vision.get("timm_model_name") or isinstance(vision["layers"], list):
        vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    else:
        vision |= {"image_size": 2 * vision["patch_size"], "layers": 2}
        # Twice the head's width, which may be an odd number of channels.
        vision["width"] = 2 * vision.get("head_width", 64)
    return {**model, "embed_dim": 48, "text_cfg": text, "vision_cfg": vision}


@pytest.mark.parametrize("name", [n for n in configs() if not any(part in n for part in REFUSED)])
def test_each_that_is_read_gives_what_openclip_gives(name: str, tmp_path: Path) -> None:
    library, described = open_clip(), shrunk(json.loads(configs()[name].read_text()))
    described["text_cfg"] |= {"hf_tokenizer_name": None, "tokenizer_kwargs": None}
    torch.manual_seed(0)
    kind = library.model.CustomTextCLIP if described.get("custom_text") else library.model.CLIP
    theirs = kind(**{k: v for k, v in described.items() if k != "custom_text"}).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    weights = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": described}))
    ours = longclip.load(tmp_path)
    assert ours.config.text
    assert ours.config.vision
    # An end of text in the middle, by either way of finding it.
    ids = torch.randint(3, 490, (4, ours.context_length))
    ids[:, 9], ids[:, 10:] = 499, 0
    if described["text_cfg"].get("pool_type") == "eos":
        ids[:, 7] = described["text_cfg"]["eos_id"]
    side = ours.config.vision.image_size
    pixels = torch.rand(2, 3, side, side)
    with torch.no_grad():
        expected = theirs.encode_text(ids), theirs.encode_image(pixels)
        found = ours.text_features(ids), ours.image_features(pixels)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text_cfg": {"embed_cls": True}}, "embed_cls True"),
        ({"text_cfg": {"ls_init_value": 1e-4}}, "ls_init_value 0.0001"),
        ({"text_cfg": {"qk_norm": True}}, "qk_norm True"),
        ({"text_cfg": {"pool_type": "none"}}, "pool_type 'none'"),
        ({"text_cfg": {"unheard_of": 1}}, "unheard_of is 1"),
        ({"vision_cfg": {"attentional_pool": True}}, "attentional_pool True"),
        ({"vision_cfg": {"timm_model_name": "../x"}}, "timm_model_name '../x'"),
        ({"unheard_of": 1}, "unheard_of is 1"),
    ],
)
def test_what_is_not_computed_is_refused(change: dict[str, object], says: str) -> None:
    model = json.loads(configs()["ViT-B-32"].read_text())
    for key, value in change.items():
        model[key] = {**model[key], **value} if isinstance(value, dict) else value
    with pytest.raises(UsageError, match=says):
        openclip.describe({"model_cfg": model})


@pytest.mark.parametrize("section", ["text_cfg", "vision_cfg"])
@pytest.mark.parametrize("value", [None, 7, [], "x"])
def test_a_section_that_is_no_object(section: str, value: object) -> None:
    content = {"embed_dim": 8, "text_cfg": {}, "vision_cfg": {}, section: value}
    with pytest.raises(UsageError, match=f"model_cfg: {section} .* is not an object"):
        openclip.describe(content)
