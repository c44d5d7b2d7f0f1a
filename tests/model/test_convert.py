"""Conversions: bit for bit round trips. Other libraries read them in tests/ecosystems."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import longclip
from longclip.checkpoints import open_checkpoint
from longclip.errors import CheckpointError
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from longclip.model.inspect import compare, find_stretch, lost_rows
from tests.helpers.models import small_clip

# Heads 64 wide and inner widths four times the outer ones, which OpenAI's code supposes.
SHAPE = CLIPConfig(
    text=TextConfig(64, 256, 2, 1),
    vision=VisionConfig(128, 512, 2, 2, image_size=32, patch_size=8),
    projection_dim=24,
)
IDS = torch.tensor([[49406, 5, 9, 49407, 49407], [49406, 7, 8, 11, 49407]])


@pytest.fixture(scope="module")
def model() -> longclip.CLIP:
    return longclip.stretch(small_clip(SHAPE))


@pytest.fixture(scope="module")
def saved(model: longclip.CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    longclip.save(model, path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_hf_openai_openclip_hf_is_bit_identical(
    model: longclip.CLIP, dtype: torch.dtype, tmp_path: Path
) -> None:
    longclip.save(model, tmp_path / "a", dtype=dtype)
    convert(tmp_path / "a", tmp_path / "b.pt", "openai")
    convert(tmp_path / "b.pt", tmp_path / "c", "openclip")
    convert(tmp_path / "c", tmp_path / "d", "hf")
    first, last = (open_checkpoint(tmp_path / name) for name in ("a", "d"))
    assert compare(first, last) == []
    assert {tensor.dtype for tensor in last.tensors.values()} == {dtype}
    assert longclip.load(tmp_path / "d").config == model.config
    assert "openai" not in (tmp_path / "d" / "README.md").read_text()


def test_openai_files_have_openais_entries(saved: Path, tmp_path: Path) -> None:
    convert(saved, tmp_path / "b.pt", "openai")
    state = torch.jit.load(tmp_path / "b.pt").state_dict()
    assert int(state["input_resolution"]) == 32
    assert int(state["context_length"]) == 248
    assert state["positional_embedding"].shape == (248, 64)
    assert state["transformer.resblocks.1.attn.in_proj_weight"].shape == (192, 64)
    assert open_checkpoint(tmp_path / "b.pt").format == "OpenAI"


@torch.inference_mode()
def test_the_text_tower_alone(saved: Path, model: longclip.CLIP, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    convert(saved, tmp_path / "t", "hf-text")
    theirs = transformers.CLIPTextModelWithProjection.from_pretrained(tmp_path / "t").eval()
    expected = model.encode_text(IDS)
    torch.testing.assert_close(theirs(IDS).text_embeds, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(longclip.load(tmp_path / "t").encode_text(IDS), expected)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "t")
    assert tokenizer.model_max_length == 248
    assert not (tmp_path / "t" / "preprocessor_config.json").exists()


def test_only_checkpoints_are_written_over(saved: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("important")
    with pytest.raises(FileExistsError, match=r"thesis\.txt exists and is no checkpoint"):
        convert(saved, thesis, "openai")
    assert thesis.read_text() == "important"
    with pytest.raises(FileExistsError, match="is a directory, and --to openai writes a file"):
        convert(saved, tmp_path, "openai")
    for _ in range(2):
        convert(saved, tmp_path / "clip.pt", "openai")


def test_the_same_weights_may_be_computed_otherwise(tmp_path: Path) -> None:
    """What no tensor says is compared as well."""
    model = small_clip(SHAPE)
    longclip.save(model, tmp_path / "quick")
    assert SHAPE.text
    gelu = dataclasses.replace(SHAPE, text=dataclasses.replace(SHAPE.text, hidden_act="gelu"))
    other = longclip.CLIP(gelu)
    other.load_state_dict(model.state_dict())
    longclip.save(other, tmp_path / "gelu")
    one, two = (open_checkpoint(tmp_path / name) for name in ("quick", "gelu"))
    [difference] = compare(one, two)
    assert (difference.name, difference.note) == (
        "text tower, hidden_act",
        "quick_gelu and gelu",
    )


def test_shards(saved: Path, tmp_path: Path) -> None:
    convert(saved, tmp_path / "s", "hf", shard_bytes=1_000_000)
    index = json.loads((tmp_path / "s" / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    assert len(shards) > 1
    size = sum(p.stat().st_size for p in (tmp_path / "s").glob("*.safetensors"))
    assert 0 < size - index["metadata"]["total_size"] < 20_000
    assert compare(open_checkpoint(saved), open_checkpoint(tmp_path / "s")) == []
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "s")
    assert torch.equal(theirs.logit_scale, longclip.load(saved).logit_scale)
    # And again over it, since it is a model directory.
    convert(saved, tmp_path / "s", "hf")


def test_what_cannot_be_expressed_is_refused(tmp_path: Path) -> None:
    def source(config: CLIPConfig) -> Path:
        longclip.save(small_clip(config), tmp_path / "a")
        return tmp_path / "a"

    text, vision = SHAPE.text, SHAPE.vision
    assert text
    assert vision
    # Wider than the tower: hardly any bias can be written as a shift of what is projected.
    biased = dataclasses.replace(SHAPE, projection_dim=96, text_projection_bias=True)
    with pytest.raises(CheckpointError, match=r"bias in its text projection .*no place"):
        convert(source(biased), tmp_path / "b", "openclip")
    gelu = dataclasses.replace(
        SHAPE,
        text=dataclasses.replace(text, hidden_act="gelu"),
        vision=dataclasses.replace(vision, hidden_act="gelu"),
    )
    with pytest.raises(CheckpointError, match=r"knows quick_gelu alone; .*--to openclip"):
        convert(source(gelu), tmp_path / "b.pt", "openai")
    mixed = dataclasses.replace(gelu, text=text)
    with pytest.raises(CheckpointError, match=r"OpenCLIP one for both; write it with --to hf"):
        convert(source(mixed), tmp_path / "b", "openclip")
    narrow = dataclasses.replace(SHAPE, text=dataclasses.replace(text, num_attention_heads=2))
    with pytest.raises(CheckpointError, match=r"2 heads in 64 channels \(text_config\)"):
        convert(source(narrow), tmp_path / "b.pt", "openai")
    convert(source(SHAPE), tmp_path / "t", "hf-text")
    with pytest.raises(CheckpointError, match=r"one tower alone and openai takes both"):
        convert(tmp_path / "t", tmp_path / "b.pt", "openai")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match=r"mine exists and holds no"):
        convert(source(SHAPE), tmp_path / "mine", "hf")
    assert not list(tmp_path.glob("b*"))


@pytest.mark.parametrize("keep", [0, 10, 20, 33])
@pytest.mark.parametrize(
    ("old", "length"),
    [(77, 154), (77, 248), (77, 300), (64, 196), (64, 240), (72, 228), (32, 128), (32, 68)],
)
def test_how_a_table_was_stretched_is_found(keep: int, old: int, length: int) -> None:
    keep = min(keep, old - 8)
    table = torch.randn(old, 64, generator=torch.Generator().manual_seed(keep)).cumsum(0)
    longer = longclip.model.stretch.stretch_table(table, length, keep=keep)
    for rows in (longer, longer.half()):
        found = find_stretch(rows)
        assert (found.keep, found.original) == (keep, old)
        assert found.ratio == pytest.approx((length - keep) / (old - keep))
        assert found.kind == ("knowledge-preserved" if keep else "linear")
    noise = torch.randn(longer.shape, generator=torch.Generator().manual_seed(1))
    moved = longer + 0.03 * longer.std() * noise
    found = find_stretch(moved)
    assert (found.kind, found.keep, found.original) == ("trained", keep, old)
    assert find_stretch(noise).kind == "none"
    assert find_stretch(table).kind == "none"


def long_clip_file(path: Path, model: longclip.CLIP, shift: float) -> dict[str, Tensor]:
    """A checkpoint with two tables, the second trained by `shift`."""
    convert_from = path.with_suffix(".hf")
    longclip.save(model, convert_from)
    convert(convert_from, path, "openai")
    state = dict(torch.jit.load(path).state_dict())
    frozen = state["positional_embedding"]
    state["positional_embedding_res"] = frozen + shift * torch.randn_like(frozen)
    torch.save(state, path)
    return dict(state)


def test_lost_position_rows_are_noticed(model: longclip.CLIP, tmp_path: Path) -> None:
    """The known bug of public conversions: the frozen table in place of the trained one."""
    state = long_clip_file(tmp_path / "longclip.pt", model, shift=1e-3)
    original = open_checkpoint(tmp_path / "longclip.pt")
    convert(tmp_path / "longclip.pt", tmp_path / "right", dtype=torch.float16)
    right = open_checkpoint(tmp_path / "right")
    assert "trained position rows are there" in str(lost_rows(original, right))
    del state["positional_embedding_res"]
    torch.save(state, tmp_path / "wrong.pt")
    wrong = open_checkpoint(tmp_path / "wrong.pt")
    assert "LOST" in str(lost_rows(original, wrong))
    (difference,) = compare(original, wrong)
    assert difference.name == "text_model.embeddings.position_embedding.weight"
    assert 1e-4 < difference.largest < 1e-2
    assert lost_rows(wrong, original) is None


@torch.inference_mode()
def test_long_clips_own_code_finds_its_two_tables(
    saved: Path, model: longclip.CLIP, tmp_path: Path
) -> None:
    """It multiplies each table by a mask and adds both; then every name is one of its module's."""
    convert(saved, tmp_path / "l.pt", "longclip")
    state = torch.load(tmp_path / "l.pt", weights_only=True)
    first = (torch.arange(248) < 20).float()[:, None]
    acting = state["positional_embedding"] * first + state["positional_embedding_res"] * (1 - first)
    assert torch.equal(acting, model.text_model.embeddings.position_embedding.weight)
    assert state["positional_embedding_res"].shape == (248, 64)
    assert {name.split(".")[0] for name in state} == {
        "logit_scale",
        "ln_final",
        "positional_embedding",
        "positional_embedding_res",
        "text_projection",
        "token_embedding",
        "transformer",
        "visual",
    }
    assert open_checkpoint(tmp_path / "l.pt").format == "Long-CLIP"
    again = longclip.load(tmp_path / "l.pt")
    assert again.config.text == model.config.text
    state = again.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_long_clips_code_reads_248_tokens_only(tmp_path: Path) -> None:
    longclip.save(small_clip(SHAPE), tmp_path / "short")
    with pytest.raises(CheckpointError, match=r"reads 77 tokens and Long-CLIP's code 248"):
        convert(tmp_path / "short", tmp_path / "l.pt", "longclip")
