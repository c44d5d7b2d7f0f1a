"""OpenCLIP models beyond CLIP's two towers: other image towers, and other ways of reading texts."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.errors import CheckpointError
from longclip.model.image_tower import ForeignImageTower
from longclip.text.tokenizer import TruncationWarning
from tests.helpers.openclip_library import open_clip
from tests.helpers.other_towers import write_model

TEXT = {"context_length": 77, "vocab_size": 600, "width": 32, "heads": 2, "layers": 2}


def timm(name: str, **options: object) -> dict[str, object]:
    return {"timm_model_name": name, "timm_model_pretrained": False, **options}


VIT = timm("vit_tiny_patch16_224", timm_pool="avg", timm_proj="linear", image_size=224)
CASES: dict[str, dict[str, Any]] = {
    "causal text, ViT of timm": {"custom_text": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "bidirectional text, FastViT": {
        "custom_text": True,
        "vision_cfg": timm("fastvit_t8", timm_pool="avg", timm_proj=None, image_size=256),
        "text_cfg": {**TEXT, "no_causal_mask": True},
    },
    "ResNet": {
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
    "SigLIP": {
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": VIT,
        "text_cfg": {
            **TEXT,
            "context_length": 64,
            "no_causal_mask": True,
            "pool_type": "last",
            "proj_bias": True,
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh"},
        },
    },
    "texts in the joint space": {
        "custom_text": True,
        "vision_cfg": VIT,
        "text_cfg": {**TEXT, "width": 48, "heads": 3, "proj_type": "none", "pool_type": "first"},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_parity_lengthening_and_saving(case: str, tmp_path: Path) -> None:
    library, described = open_clip(), {"embed_dim": 48, **CASES[case]}
    torch.manual_seed(0)
    kind = library.model.CustomTextCLIP if described.get("custom_text") else library.model.CLIP
    theirs = kind(**{k: v for k, v in described.items() if k != "custom_text"}).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    source = tmp_path / "model"
    source.mkdir()
    weights = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    save_file(weights, source / "open_clip_model.safetensors")
    pictures = {"mean": [0.5] * 3, "std": [0.5] * 3}
    pictures |= {"interpolation": "bilinear", "resize_mode": "squash"}
    config = {"model_cfg": described, "preprocess_cfg": pictures}
    (source / "open_clip_config.json").write_text(json.dumps(config))

    ours = longclip.load(source)
    assert isinstance(ours.vision_model, ForeignImageTower)
    assert (ours.preprocess.resize, ours.preprocess.interpolation) == ("squash", "bilinear")
    length = ours.context_length
    ids = torch.randint(1, 590, (5, length))
    ids[:, 20], ids[:, 21:] = 599, 0
    side = ours.config.vision.image_size  # type: ignore[union-attr]
    pixels = torch.rand(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(ours.text_features(ids), theirs.encode_text(ids))
        torch.testing.assert_close(ours.image_features(pixels), theirs.encode_image(pixels))

    longclip.save(ours, tmp_path / "same")
    before, after = (
        load_file(folder / "open_clip_model.safetensors") for folder in (source, tmp_path / "same")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "same/open_clip_config.json").read_text()) == config

    longer = longclip.stretch(ours, 128, 20)
    longclip.save(longer, tmp_path / "long")
    read = library.create_model(f"local-dir:{tmp_path / 'long'}").eval()
    ids = torch.randint(1, 590, (3, 128))
    ids[:, 90] = 599
    with torch.no_grad():
        torch.testing.assert_close(longer.text_features(ids), read.encode_text(ids))


TEXTS = [
    "a dog",
    "two boats lie on a calm lake, and behind them stands a red house with a green door",
    "",
    "A photo of a street! " * 30,
]


@pytest.mark.parametrize(
    "text",
    [
        {"no_causal_mask": True},
        {"no_causal_mask": True, "pool_type": "first"},
        {"no_causal_mask": True, "pool_type": "eos", "eos_id": 49407},
        {"no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        {"pool_type": "last"},
    ],
    ids=lambda text: " ".join(map(str, text.values())),
)
def test_padded_texts_of_any_lengths_are_embedded_as_alone_and_as_by_open_clip(
    text: dict[str, object], tmp_path: Path
) -> None:
    library = open_clip()
    torch.manual_seed(0)
    described: dict[str, Any] = {
        "embed_dim": 48,
        "vision_cfg": timm("test_vit", timm_pool="avg", timm_proj="linear", image_size=160),
        "text_cfg": {**TEXT, "vocab_size": 49408, **text},
    }
    theirs = library.model.CustomTextCLIP(**described).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weights = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": {**described, "custom_text": True}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    ids = library.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS)
    assert ids.shape == (len(TEXTS), 77)
    assert not ids[0, 4:].any(), "padded with 0"

    ours = longclip.load(tmp_path)
    with torch.no_grad():
        expected = theirs.encode_text(ids)
        changed = theirs.encode_text(ids.masked_fill(ids == 0, 5))
    assert (changed - expected)[0].abs().max() > 1e-3, "padding is read"
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    with pytest.warns(TruncationWarning):
        close(torch.cat([ours.encode_text([one]) for one in TEXTS]), expected)
    # The longest text of a batch says how far the others are padded at first.
    for rows in ([0], [0, 1], [0, 1, 2], [2, 1, 0], [1, 2]):
        for budget in (None, 1, 200):
            found = ours.encode_text([TEXTS[i] for i in rows], token_budget=budget)
            close(found, expected[rows])
    close(ours.encode_text(ids), expected)
    close(ours.encode_text([[id for id in row if id] for row in ids.tolist()]), expected)
    with torch.no_grad():
        close(ours.text_features(ids[:3, :40]), expected[:3])


@pytest.mark.parametrize("options", [{"clean": "canonicalize"}, {"reduction_mask": "simple"}])
def test_clips_tokenizer_with_other_options_is_refused(
    options: dict[str, str], tmp_path: Path
) -> None:
    directory = write_model("timm", tmp_path)
    path = directory / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": "lower"}
    path.write_text(json.dumps(config))
    longclip.load(directory)
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = options
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json: tokenizer_kwargs \{.* change"):
        longclip.load(directory)
