"""Every configuration in OpenCLIP's wheel: read as it is meant, or refused with the reason."""

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from longclip.checkpoints.formats import openclip
from longclip.errors import UsageError
from longclip.model.config import CLIPConfig


def configs() -> dict[str, Path]:
    package = find_spec("open_clip")
    assert package
    assert package.origin
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
