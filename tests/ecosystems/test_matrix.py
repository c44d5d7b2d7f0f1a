"""Every kind of checkpoint into every library: the same embeddings, or a reason why not."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import longclip
from longclip.checkpoints import write
from longclip.errors import CheckpointError
from longclip.model.convert import convert
from tests.helpers.matrix_families import FAMILIES
from tests.helpers.matrix_sources import SOURCES as STOCK
from tests.helpers.matrix_sources import Source, padded, pictures, pixels
from tests.helpers.openai_library import openai_clip
from tests.helpers.openclip_library import open_clip
from tests.helpers.plug_and_play import close

transformers = pytest.importorskip("transformers")

SOURCES = STOCK | FAMILIES
Embeddings = tuple[Tensor, Tensor | None]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Source]:
    """Each made when it is first asked for."""
    made: dict[str, Source] = {}

    def source(name: str) -> Source:
        if name not in made:
            with torch.inference_mode():
                made[name] = SOURCES[name](tmp_path_factory.mktemp(name))
        return made[name]

    return source


@functools.cache
def converted(path: Path) -> Path:
    """In Hugging Face's layout, which two of the libraries take."""
    directory = path.with_name(f"{path.name}-hf")
    convert(path, directory, "hf", dtype=torch.float32)
    return directory


def in_transformers(source: Source, _: Path) -> Embeddings:
    directory = converted(source.path)
    if source.image is None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        tower = loaded(transformers.CLIPTextModelWithProjection, directory)
        return tower(**tokenizer(source.texts, padding=True, return_tensors="pt")).text_embeds, None
    processor = transformers.AutoProcessor.from_pretrained(directory)
    given = processor(
        text=source.texts, images=pictures(), padding="max_length", return_tensors="pt"
    )
    model = loaded(transformers.AutoModel, directory)
    return (
        model.get_text_features(given.input_ids, given.get("attention_mask")).pooler_output,
        model.get_image_features(given.pixel_values).pooler_output,
    )


def loaded(kind: Any, directory: Path) -> Any:
    """A model to which nothing was lacking and of which nothing was left over."""
    model, report = kind.from_pretrained(directory, output_loading_info=True)
    assert not any(report.values())
    return model.eval()


def in_sentence_transformers(source: Source, _: Path) -> Embeddings:
    library = pytest.importorskip("sentence_transformers")
    directory = converted(source.path)
    model = library.SentenceTransformer(str(directory), device="cpu", local_files_only=True)

    def encode(inputs: list[Any]) -> Tensor:
        return model.encode(inputs, convert_to_tensor=True, show_progress_bar=False)

    return encode(source.texts), None if source.image is None else encode(pictures())


def in_open_clip(source: Source, directory: Path) -> Embeddings:
    convert(source.path, directory, "openclip", dtype=torch.float32)
    library = open_clip()
    model = library.create_model(f"local-dir:{directory}").eval()
    ids = library.get_tokenizer(f"local-dir:{directory}")(source.texts)
    normalization = library.get_model_preprocess_cfg(model)
    size = model.visual.image_size
    size = size if isinstance(size, int) else size[0]
    images = pixels(normalization["mean"], normalization["std"], size)
    return model.encode_text(ids), model.encode_image(images)


def in_openai_code(source: Source, directory: Path) -> Embeddings:
    convert(source.path, directory / "clip.pt", "openai")
    model = openai_clip().build_model(torch.jit.load(directory / "clip.pt").state_dict()).float()
    # The file has no place for the mean of the pixels; whoever loads it must know.
    preprocess = longclip.load(source.path).preprocess
    ids = padded(source.texts, model.context_length)
    return model.encode_text(ids), model.encode_image(pixels(preprocess.mean, preprocess.std))


def in_diffusers(source: Source, directory: Path) -> Embeddings:
    """The second text encoder of an SDXL pipeline that has nothing else: its pooled prompts."""
    library = pytest.importorskip("diffusers")
    convert(source.path, directory / "text_encoder_2", "hf-text", dtype=torch.float32)
    (directory / "tokenizer_2").symlink_to(directory / "text_encoder_2")
    described = json.loads((directory / "tokenizer_2" / "tokenizer_config.json").read_text())
    absent = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", described["tokenizer_class"]],
    }
    (directory / "model_index.json").write_text(json.dumps(index))
    pipeline = library.DiffusionPipeline.from_pretrained(directory, **dict.fromkeys(absent))
    _, _, pooled, _ = pipeline.encode_prompt(
        source.texts, device="cpu", do_classifier_free_guidance=False
    )
    return pooled, None


def in_comfyui(source: Source, directory: Path) -> Embeddings:
    """By the names of test_comfyui.py, in a tower of transformers' that has the same ones."""
    convert(source.path, directory / "clip.safetensors", "comfyui", dtype=torch.float32)
    tensors = load_file(directory / "clip.safetensors")
    text = longclip.load(source.path).config.to_json()
    config = transformers.CLIPTextConfig(**text.get("text_config", text))
    tower = transformers.CLIPTextModelWithProjection(config).eval()
    if not any(name.startswith("text_model.") for name in tower.state_dict()):
        tensors = {name.removeprefix("text_model."): t for name, t in tensors.items()}
    tower.load_state_dict(tensors)
    return tower(padded(source.texts, config.max_position_embeddings)).text_embeds, None


ECOSYSTEMS = {
    "transformers": in_transformers,
    "sentence_transformers": in_sentence_transformers,
    "open_clip": in_open_clip,
    "openai_code": in_openai_code,
    "diffusers": in_diffusers,
    "comfyui": in_comfyui,
}

REFUSALS = {
    ("openclip-file", "openai_code"): r"computes gelu and OpenAI's code knows quick_gelu alone",
    ("openclip-file", "comfyui"): r"gelu",
    ("sdxl-text-tower", "open_clip"): r"is one tower alone and openclip takes both",
    ("sdxl-text-tower", "openai_code"): r"is one tower alone and openai takes both",
    **{
        ("declip-with-wide-bias", ecosystem): r"bias in its text projection .* no place"
        for ecosystem in ECOSYSTEMS
    },
    **{
        (
            name,
            ecosystem,
        ): "a vocabulary of its own, (for which|and .* gives every model the ids of CLIP)"
        for name in ("other-language", "metaclip-2")
        for ecosystem in ("open_clip", "openai_code", "comfyui")
    },
    **{
        ("siglip", ecosystem): "texts that are read at their last position"
        for ecosystem in ("open_clip", "openai_code", "diffusers", "comfyui")
    },
    **{
        (name, ecosystem): "has an image tower of open_clip, for which --to .* has no place"
        for name in ("openclip-timm", "openclip-resnet")
        for ecosystem in ("transformers", "sentence_transformers", "openai_code")
    },
    **{(name, "comfyui"): "gelu" for name in ("openclip-timm", "openclip-resnet")},
}

CELLS = [
    pytest.param(source, ecosystem, id=f"{source}-{ecosystem}")
    for source in SOURCES
    for ecosystem in ECOSYSTEMS
]


@pytest.mark.parametrize(("name", "ecosystem"), CELLS)
@torch.inference_mode()
def test_cell(
    name: str,
    ecosystem: str,
    sources: Callable[[str], Source],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small towers stand for the real ones here; ComfyUI's widths are those of test_comfyui.py.
    monkeypatch.setattr(write, "COMFYUI_WIDTHS", {"CLIP-L": 64, "CLIP-G": 64})
    source = sources(name)
    embed = ECOSYSTEMS[ecosystem]
    if (name, ecosystem) in REFUSALS:
        with pytest.raises(CheckpointError, match=REFUSALS[name, ecosystem]):
            embed(source, tmp_path)
        return
    text, image = embed(source, tmp_path)
    close(text, source.text)
    if image is not None:
        assert source.image is not None
        close(image, source.image)


def test_the_documented_table_is_this_one() -> None:
    path = Path(__file__).parents[2] / "docs" / "checkpoints.md"
    rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    start = rows.index(["source", *ECOSYSTEMS])
    table = rows[start + 2 : start + 2 + len(SOURCES)]
    assert [row[0] for row in table] == list(SOURCES)
    for name, *cells in table:
        for ecosystem, cell in zip(ECOSYSTEMS, cells, strict=True):
            refused = (name, ecosystem) in REFUSALS
            assert cell.startswith("refused" if refused else "✓"), (name, ecosystem)
