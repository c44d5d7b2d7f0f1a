"""Every format in: recognised by content, read whole, the same numbers as its own library."""

import dataclasses
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import longclip
from longclip.checkpoints import open_checkpoint
from longclip.checkpoints.config import infer_config
from longclip.checkpoints.formats.openai import from_huggingface, to_huggingface
from longclip.errors import CheckpointError
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.architectures import ARCHITECTURES
from tests.helpers.models import small_clip
from tests.helpers.openclip_library import open_clip

MODEL = small_clip()
IDS = torch.tensor([[49406, 5, 9, 49407, 49407], [49406, 7, 8, 11, 49407]])
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

OPENCLIP = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 128,
        "head_width": 64,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 1,
        "layers": 2,
    },
}


def openclip_model(*, quick_gelu: bool = False, custom: bool = False) -> Any:
    """A random model of OpenCLIP's own classes."""
    library = open_clip()
    torch.manual_seed(0)
    kind = library.CustomTextCLIP if custom else library.CLIP
    model = kind(**OPENCLIP, quick_gelu=quick_gelu).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model


@torch.inference_mode()
def assert_same(ours: longclip.CLIP, text: Tensor, image: Tensor) -> None:
    torch.testing.assert_close(ours.encode_text(IDS), text, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.encode_image(PIXELS), image, rtol=0, atol=1e-5)


def padded() -> Tensor:
    return torch.nn.functional.pad(IDS, (0, 72))


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
@torch.inference_mode()
def test_openclip_files(suffix: str, custom: bool, tmp_path: Path) -> None:
    theirs = openclip_model(custom=custom)
    state = {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    ours = longclip.load(path)
    assert ours.config.text.hidden_act == "gelu"
    assert_same(ours, theirs.encode_text(padded()), theirs.encode_image(PIXELS))
    assert open_checkpoint(path).format == "OpenCLIP"


@pytest.mark.parametrize("quick_gelu", [False, True])
@torch.inference_mode()
def test_openclip_directories(quick_gelu: bool, tmp_path: Path) -> None:
    theirs = openclip_model(quick_gelu=quick_gelu)
    save_file(theirs.state_dict(), tmp_path / "open_clip_model.safetensors")
    model = OPENCLIP | ({"quick_gelu": True} if quick_gelu else {})
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    content = {"model_cfg": model, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    ours = longclip.load(tmp_path)
    assert ours.preprocess.mean == (0.5, 0.5, 0.5)
    assert ours.preprocess.image_size == 32
    assert_same(ours, theirs.encode_text(padded()), theirs.encode_image(PIXELS))


@pytest.mark.parametrize(
    "broken",
    [
        {"model_cfg": {}},
        {"model_cfg": {"vision_cfg": {"timm_model_name": "vit"}}},
        {"preprocess_cfg": None},
        {"preprocess_cfg": {"mean": 0.5}},
    ],
)
def test_openclip_configurations_that_make_no_sense(broken: Any, tmp_path: Path) -> None:
    save_file(openclip_model().state_dict(), tmp_path / "open_clip_model.safetensors")
    content = {"model_cfg": OPENCLIP, "preprocess_cfg": {}} | broken
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json does not describe a CLIP"):
        longclip.load(tmp_path)


def test_openclip_training_checkpoints(tmp_path: Path) -> None:
    theirs = openclip_model()
    state = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save({"epoch": 3, "name": "x", "state_dict": state}, tmp_path / "epoch_3.pt")
    with torch.inference_mode():
        text, image = theirs.encode_text(padded()), theirs.encode_image(PIXELS)
    assert_same(longclip.load(tmp_path / "epoch_3.pt"), text, image)


class Shell(nn.Module):
    """Puts tensors under dotted names, so that TorchScript can save them like OpenAI's."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                groups.setdefault(first, {})[rest] = tensor
            else:
                self.register_parameter(first, nn.Parameter(tensor, requires_grad=False))
        for name, inner in groups.items():
            self.add_module(name, Shell(inner))

    def forward(self, x: Tensor) -> Tensor:
        return x


def wide_clip(text_width: int = 64) -> longclip.CLIP:
    """A model with heads 64 wide, as bare weights are taken to have."""
    return small_clip(
        CLIPConfig(
            text=TextConfig(text_width, 2 * text_width, 2, text_width // 64),
            vision=VisionConfig(128, 256, 2, 2, image_size=32, patch_size=8),
            projection_dim=24,
        )
    )


def openai_tensors(model: longclip.CLIP) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in from_huggingface(model.state_dict()).items()}


@torch.inference_mode()
def assert_same_model(ours: longclip.CLIP, other: longclip.CLIP) -> None:
    assert ours.config.text == other.config.text
    assert ours.config.vision == other.config.vision
    assert_same(ours, other.encode_text(IDS), other.encode_image(PIXELS))


def test_openai_archives(tmp_path: Path) -> None:
    model = wide_clip()
    shell = Shell(openai_tensors(model))
    for name, value in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
        shell.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(shell), tmp_path / "ViT-B-16.pt")
        assert torch.jit.load(tmp_path / "ViT-B-16.pt").state_dict().keys() > {"logit_scale"}
    assert open_checkpoint(tmp_path / "ViT-B-16.pt").format == "OpenAI"
    assert_same_model(longclip.load(tmp_path / "ViT-B-16.pt"), model)


def test_openai_state_dicts(tmp_path: Path) -> None:
    model = wide_clip()
    entries = {"input_resolution": torch.tensor(32), "vocab_size": torch.tensor(49408)}
    torch.save(openai_tensors(model) | entries, tmp_path / "b16.pt")
    assert open_checkpoint(tmp_path / "b16.pt").format == "OpenAI"
    assert_same_model(longclip.load(tmp_path / "b16.pt"), model)
    # Without its entries nothing says whose it is, unless the user does.
    torch.save(openai_tensors(model), tmp_path / "bare.pt")
    assert longclip.load(tmp_path / "bare.pt").config.text.hidden_act == "gelu"
    assert_same_model(longclip.load(tmp_path / "bare.pt", activation="quick_gelu"), model)


def test_long_clips_tables_are_folded(tmp_path: Path) -> None:
    model = longclip.stretch(wide_clip())
    tensors = openai_tensors(model)
    whole = tensors["positional_embedding"]
    tensors["positional_embedding"] = whole.clone()
    tensors["positional_embedding"][20:] += 1
    tensors["positional_embedding_res"] = whole.clone()
    tensors["positional_embedding_res"][:20] += 1
    torch.save(tensors, tmp_path / "longclip-B.pt")
    found = open_checkpoint(tmp_path / "longclip-B.pt")
    assert found.format == "Long-CLIP"
    assert found.extras.keys() == {"positional_embedding", "positional_embedding_res"}
    ours = longclip.load(tmp_path / "longclip-B.pt")
    assert torch.equal(ours.text_model.embeddings.position_embedding.weight, whole)
    assert_same_model(ours, model)
    # The only weight file of a directory, as in the published repository, is found.
    (tmp_path / "README.md").write_text("hello")
    assert_same_model(longclip.load(tmp_path), model)
    tensors["positional_embedding_res"] = whole[:77]
    torch.save(tensors, tmp_path / "longclip-B.pt")
    with pytest.raises(CheckpointError, match=r"\[248, 64\] and .*_res \[77, 64\]"):
        longclip.load(tmp_path)


def test_declip(tmp_path: Path) -> None:
    config = dataclasses.replace(wide_clip().config, text_projection_bias=True)
    model = small_clip(config)
    state = {}
    for name, tensor in openai_tensors(model).items():
        if name == "token_embedding.weight":
            tensor = torch.cat([tensor[:49406], torch.randn(1, 64), tensor[49406:]])
        if name == "text_projection":
            name, tensor = "text_projection.weight", tensor.T.contiguous()
        if name == "logit_scale":
            tensor = tensor[None]
        own = name if name.startswith(("visual.", "logit_scale")) else f"encode_text.{name}"
        state[f"module.{own}"] = tensor
    state["module.predictor.layer1.0.weight"] = torch.randn(2, 2)
    torch.save({"model": state, "step": 5}, tmp_path / "declip.pth.tar")
    found = open_checkpoint(tmp_path / "declip.pth.tar")
    assert found.format == "DeCLIP"
    assert "1 tensors of training heads" in " ".join(found.notes)
    ours = longclip.load(tmp_path / "declip.pth.tar")
    assert ours.preprocess.mean == (0.485, 0.456, 0.406)
    assert ours.config.text_projection_bias
    assert_same_model(ours, model)


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("projected", [True, False])
def test_a_text_tower_alone(projected: bool, prefixed: bool, tmp_path: Path) -> None:
    """As diffusion pipelines have; transformers 5 leaves the prefix out of the plain one."""
    transformers = pytest.importorskip("transformers")
    kind = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
    values = {**dataclasses.asdict(MODEL.config.text), "projection_dim": 24}
    theirs = getattr(transformers, kind)(transformers.CLIPTextConfig(**values)).eval()
    theirs.save_pretrained(tmp_path)
    if prefixed:
        state = {
            name
            if name.startswith(("text_model.", "text_projection."))
            else f"text_model.{name}": t
            for name, t in theirs.state_dict().items()
        }
        save_file(state, tmp_path / "model.safetensors")
    ours = longclip.load(tmp_path)
    output = theirs(IDS)
    expected = output.text_embeds if projected else output.pooler_output
    torch.testing.assert_close(ours.encode_text(IDS), expected, rtol=0, atol=1e-5)
    assert ours.embedding_dim == expected.shape[1]
    assert longclip.stretch(ours).context_length == 248
    with pytest.raises(ValueError, match=r"text tower alone; load a CLIP with an image tower"):
        ours.encode_image(PIXELS)
    with pytest.raises(ValueError, match=r"text tower alone"):
        ours.encode_image(Image.new("RGB", (40, 30)))
    longclip.save(ours, tmp_path / "again")
    again = getattr(transformers, kind).from_pretrained(tmp_path / "again").eval()(IDS)
    back = again.text_embeds if projected else again.pooler_output
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-6)


def test_an_image_tower_alone(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    values = {**dataclasses.asdict(MODEL.config.vision), "projection_dim": 24}
    config = transformers.CLIPVisionConfig(**values)
    theirs = transformers.CLIPVisionModelWithProjection(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = longclip.load(tmp_path)
    expected = theirs(PIXELS).image_embeds
    torch.testing.assert_close(ours.encode_image(PIXELS), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"image tower alone; load a CLIP with a text tower"):
        ours.encode_text("a")
    with pytest.raises(ValueError, match=r"no text to lengthen"):
        longclip.stretch(ours)


def test_names_there_and_back_are_the_same_bits() -> None:
    state = MODEL.state_dict()
    back, unknown = to_huggingface(from_huggingface(state))
    assert unknown == []
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text_encoder.embedding_layer.weight", r"MobileCLIP in the layout of Apple's own code"),
        ("visual.trunk.norm.weight", r"ResNet or timm image tower"),
        ("visual.layer1.0.conv1.weight", r"conv1\.weight, so no CLIP with a ResNet can be made"),
        ("logit_bias", r"no part of a CLIP: logit_bias; if it is"),
        ("transformer.resblocks.0.ls_1.gamma", r"no part of a CLIP: transformer\.resblocks\.0\.ls"),
    ],
)
def test_what_is_no_clip_is_refused(name: str, message: str, tmp_path: Path) -> None:
    torch.save(openai_tensors(wide_clip()) | {name: torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        longclip.load(tmp_path / "a.pt")


def test_tensors_that_are_missing_are_named(tmp_path: Path) -> None:
    tensors = openai_tensors(wide_clip())
    del tensors["ln_final.weight"]
    torch.save(tensors, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"missing: text_model\.final_layer_norm\.weight"):
        longclip.load(tmp_path / "a.pt")
    del tensors["token_embedding.weight"]
    torch.save(tensors, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"no text_model.*token_embedding\.weight"):
        longclip.load(tmp_path / "a.pt")


def test_directories_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no weights"):
        longclip.load(tmp_path)
    for name in ("a.pt", "b.pt"):
        torch.save(openai_tensors(wide_clip()), tmp_path / name)
    with pytest.raises(CheckpointError, match=r"several weight files \(a\.pt, b\.pt\)"):
        longclip.load(tmp_path)
    torch.save({"epoch": 1}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"holds no tensors, only epoch"):
        longclip.load(tmp_path / "c.pt")


def test_an_activation_that_the_checkpoint_says_is_not_asked_for(tmp_path: Path) -> None:
    longclip.save(MODEL, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"a says its activation in its configuration"):
        longclip.load(tmp_path / "a", activation="gelu")


@pytest.mark.parametrize(("layers", "expected"), [(12, "quick_gelu"), (23, "gelu")])
def test_a_bare_text_tower_is_taken_as_comfyui_takes_it(
    layers: int, expected: str, tmp_path: Path
) -> None:
    text = TextConfig(64, 64, layers, 1)
    tensors = small_clip(CLIPConfig(text=text, vision=None)).state_dict()
    save_file(tensors, tmp_path / "clip.safetensors")
    found = open_checkpoint(tmp_path / "clip.safetensors")
    assert found.config["hidden_act"] == expected
    [note] = found.notes
    assert note.startswith(f"the activation is not in the file; {expected} was assumed")


@pytest.mark.parametrize(
    ("name", "vision", "text", "joint"),
    [
        ("ViT-B-32", (768, 12, 12, 32, 224), (512, 12, 8), 512),
        ("ViT-B-16", (768, 12, 12, 16, 224), (512, 12, 8), 512),
        ("ViT-L-14", (1024, 24, 16, 14, 224), (768, 12, 12), 768),
        ("ViT-L-14-336", (1024, 24, 16, 14, 336), (768, 12, 12), 768),
        ("ViT-H-14", (1280, 32, 16, 14, 224), (1024, 24, 16), 1024),
        ("ViT-g-14", (1408, 40, 16, 14, 224), (1024, 24, 16), 1024),
        ("ViT-bigG-14", (1664, 48, 16, 14, 224), (1280, 32, 20), 1280),
    ],
)
def test_published_shapes_are_inferred(
    name: str, vision: tuple[int, ...], text: tuple[int, ...], joint: int
) -> None:
    width, layers, heads, patch, size = vision
    inner = {1408: 6144, 1664: 8192}.get(width, 4 * width)
    config = CLIPConfig(
        text=TextConfig(text[0], 4 * text[0], text[1], text[2], hidden_act="gelu"),
        vision=VisionConfig(width, inner, layers, heads, "gelu", image_size=size, patch_size=patch),
        projection_dim=joint,
    )
    with torch.device("meta"):
        tensors = longclip.CLIP(config).state_dict()
    found = CLIPConfig.from_json(
        infer_config(Path("x"), to_huggingface(from_huggingface(tensors))[0], "gelu")
    )
    assert found == config


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name.startswith("ViT-")])
def test_architectures_are_what_their_shapes_say(name: str) -> None:
    config = ARCHITECTURES[name]
    assert config.vision
    with torch.device("meta"):
        tensors = longclip.CLIP(config).state_dict()
    assert (
        CLIPConfig.from_json(infer_config(Path("x"), tensors, config.vision.hidden_act)) == config
    )


@pytest.mark.parametrize(
    ("name", "shape", "problem"),
    [
        ("text_model.x", (2,), "there is no text_model.embeddings.token_embedding.weight"),
        ("text_model.embeddings.token_embedding.weight", (2,), r"\[2\], expected 2 dimensions"),
    ],
)
def test_a_tensor_without_which_there_is_no_shape_is_named_with_its_file(
    tmp_path: Path, name: str, shape: tuple[int, ...], problem: str
) -> None:
    path = tmp_path / "bare.safetensors"
    save_file({name: torch.zeros(shape)}, path)
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))}: .*{problem}"):
        open_checkpoint(path)
