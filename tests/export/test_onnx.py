"""ONNX exports: onnxruntime computes what the model, and what its own library, does."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import longclip
from longclip.checkpoints.hub import source_name
from longclip.encoders.onnx_files import find_onnx_files
from longclip.errors import CheckpointError, UsageError
from longclip.export import Export, export_onnx, onnx_directory, onnx_writer
from longclip.model import CLIPConfig
from longclip.model.convert import convert
from longclip.model.identity import model_digest
from tests.helpers.cli import Run, run
from tests.helpers.matrix_families import FAMILIES
from tests.helpers.matrix_sources import SOURCES, Source, pictures
from tests.helpers.models import SMALL, small_clip
from tests.helpers.onnx_files import assert_near, interface, run_onnx

__all__ = ["run"]

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TEXTS = ["", "a red boat", "two old dogs on a bridge at dusk, and nobody else", "word " * 400]
TEXT, IMAGE = "onnx/text_model.onnx", "onnx/vision_model.onnx"


@pytest.fixture(scope="module")
def model() -> longclip.CLIP:
    return longclip.stretch(small_clip()).eval()


@pytest.fixture(scope="module")
def saved(model: longclip.CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    longclip.save(model, path)
    return path


@pytest.fixture(scope="module")
def exported(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Export, Path]:
    path = tmp_path_factory.mktemp("exported") / "onnx"
    return export_onnx(saved, path), path


def test_names_types_and_shapes_are_those_of_the_layout(exported: tuple[Export, Path]) -> None:
    done, path = exported
    assert interface(path / TEXT) == {
        "input_ids": ("tensor(int64)", ["batch_size", "sequence_length"]),
        "text_embeds": ("tensor(float)", ["batch_size", 24]),
    }
    assert interface(path / IMAGE) == {
        "pixel_values": ("tensor(float)", ["batch_size", 3, 32, 32]),
        "image_embeds": ("tensor(float)", ["batch_size", 24]),
    }
    assert [tower.file for tower in done.towers] == [TEXT, IMAGE]
    assert [tower.bytes for tower in done.towers] == [
        (path / name).stat().st_size for name in (TEXT, IMAGE)
    ]
    assert all(tower.difference < 1e-5 for tower in done.towers)
    beside = {p.name for p in path.iterdir()}
    expected = {"config.json", "preprocessor_config.json", "tokenizer.json", "README.md"}
    assert expected < beside
    assert json.loads((path / "config.json").read_text())["text_config"]["max_length"] == 248


def test_a_file_says_what_it_was_made_of_and_nothing_of_this_machine(
    exported: tuple[Export, Path], model: longclip.CLIP
) -> None:
    done, path = exported
    for name in (TEXT, IMAGE):
        file = onnx.load(path / name)
        onnx.checker.check_model(file, full_check=True)
        assert {entry.key: entry.value for entry in file.metadata_props} == {
            "longclip.model_digest": model_digest(model),
            "longclip.precision": "float32",
            "longclip.version": longclip.__version__,
        }
        assert done.digest == model_digest(model)
        assert [(opset.domain, opset.version) for opset in file.opset_import] == [("", 18)]
        assert os.fsencode(Path(longclip.__file__).parent.parent) not in (path / name).read_bytes()
        # Weights are there once: none is stored turned beside what it was.
        stored = sum(np.prod(tensor.dims) for tensor in file.graph.initializer)
        towers = "text" if name == TEXT else ("vision", "visual")
        own = sum(p.numel() for n, p in model.named_parameters() if n.startswith(towers))
        assert 0 <= stored - own < 100


def test_a_text_has_its_own_embedding_in_any_batch(
    exported: tuple[Export, Path], model: longclip.CLIP
) -> None:
    _, path = exported
    ids = model.token_ids(TEXTS, warn=False)
    assert ids.shape == (4, 248)
    expected = model.encode_text(ids)
    together = run_onnx(path / TEXT, ids)
    assert_near(together, expected)
    for row, text in enumerate(TEXTS):
        alone = run_onnx(path / TEXT, model.token_ids(text, warn=False))
        assert_near(alone, together[row : row + 1])
    # Any id may stand behind an end: programs pad with 0 and with other ends.
    other = ids.masked_fill(torch.arange(248) > (ids == 49407).int().argmax(1)[:, None], 0)
    assert_near(run_onnx(path / TEXT, other), expected)


def test_a_text_that_was_cut_without_its_end_is_read_as_if_it_had_one(
    exported: tuple[Export, Path], model: longclip.CLIP
) -> None:
    """transformers.js cuts so; a shorter text in the batch has its own end."""
    _, path = exported
    ids = model.token_ids([TEXTS[3], TEXTS[1]], warn=False)
    expected = model.encode_text(ids)
    ids[0, -1] = ids[0, -2]
    assert_near(run_onnx(path / TEXT, ids), expected)


def test_pictures_in_batches_of_any_size(
    exported: tuple[Export, Path], model: longclip.CLIP
) -> None:
    _, path = exported
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = model.encode_image(pixels)
    for size in (1, 5):
        assert_near(run_onnx(path / IMAGE, pixels[:size]), expected[:size])


CHECKPOINTS = {**SOURCES, **FAMILIES}
KINDS = [
    "declip-with-wide-bias",
    "metaclip-2",
    "siglip",
    "openclip-timm",
    "openclip-resnet",
    pytest.param("sdxl-text-tower", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("kind", KINDS)
def test_files_compute_what_the_own_library_of_a_checkpoint_does(kind: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source: Source = CHECKPOINTS[kind](tmp_path / "source")
    done = export_onnx(source.path, tmp_path / "onnx")
    model = longclip.load(source.path)
    for text, expected in zip(source.texts, source.text, strict=True):
        ids = model.token_ids(text)  # not padded
        assert_near(run_onnx(tmp_path / "onnx" / TEXT, ids), expected[None])
    ids = model.token_ids(source.texts)
    assert_near(run_onnx(tmp_path / "onnx" / TEXT, ids), source.text)
    assert done.digest == model_digest(model)
    if source.image is None:
        assert not (tmp_path / "onnx" / IMAGE).exists()
        return
    pixels = torch.stack([model.preprocess(picture) for picture in pictures()])
    assert_near(run_onnx(tmp_path / "onnx" / IMAGE, pixels), source.image)


def test_texts_that_are_read_at_their_largest_id(tmp_path: Path) -> None:
    assert SMALL.text
    config = replace(SMALL, text=replace(SMALL.text, pooling="argmax", pad_token_id=0))
    model = small_clip(config)
    longclip.save(model, tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "onnx")
    ids = model.token_ids(TEXTS, warn=False)
    assert_near(run_onnx(tmp_path / "onnx" / TEXT, ids), model.encode_text(ids))


def test_the_end_of_texts_is_the_tokenizers_where_the_largest_id_is_read(tmp_path: Path) -> None:
    """With rows added to CLIP's vocabulary no text ends with the last id of the table."""
    assert SMALL.text
    added = {"vocab_size": 49410, "eos_token_id": 49409, "pooling": "argmax", "pad_token_id": 0}
    model = small_clip(replace(SMALL, text=replace(SMALL.text, **added)))  # type: ignore[arg-type]
    longclip.save(model, tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "onnx")
    ids = model.token_ids(TEXTS, warn=False)
    expected = model.encode_text(ids)
    assert_near(run_onnx(tmp_path / "onnx" / TEXT, ids), expected)
    ids[3, -1] = ids[3, -2]  # cut without its end
    assert_near(run_onnx(tmp_path / "onnx" / TEXT, ids), expected)


def test_a_text_tower_alone(tmp_path: Path) -> None:
    model = small_clip(CLIPConfig(text=SMALL.text, vision=None, projection_dim=None))
    longclip.save(model, tmp_path / "model")
    done = export_onnx(tmp_path / "model", tmp_path / "onnx")
    assert [tower.tower for tower in done.towers] == ["text"]
    assert not (tmp_path / "onnx" / "preprocessor_config.json").exists()
    ids = model.token_ids(TEXTS, warn=False)
    assert_near(run_onnx(tmp_path / "onnx" / TEXT, ids), model.encode_text(ids))


def test_an_image_tower_alone(tmp_path: Path) -> None:
    model = small_clip(CLIPConfig(text=None, vision=SMALL.vision, projection_dim=None))
    longclip.save(model, tmp_path / "model")
    done = export_onnx(tmp_path / "model", tmp_path / "onnx")
    assert [tower.tower for tower in done.towers] == ["image"]
    assert not (tmp_path / "onnx" / "tokenizer.json").exists()
    pixels = torch.randn(2, 3, 32, 32)
    assert_near(run_onnx(tmp_path / "onnx" / IMAGE, pixels), model.encode_image(pixels))


def test_half_precision_takes_and_gives_float32(
    saved: Path, model: longclip.CLIP, tmp_path: Path
) -> None:
    done = export_onnx(saved, tmp_path / "onnx", precision="float16")
    text, image = (
        tmp_path / "onnx" / name.replace(".onnx", "_fp16.onnx") for name in (TEXT, IMAGE)
    )
    assert [tower.file for tower in done.towers] == [f"onnx/{text.name}", f"onnx/{image.name}"]
    assert all(1e-6 < tower.difference < 1e-2 for tower in done.towers)
    ids = model.token_ids(TEXTS, warn=False)
    assert_near(run_onnx(text, ids), model.encode_text(ids), 1e-2)
    pixels = torch.randn(2, 3, 32, 32)
    assert_near(run_onnx(image, pixels), model.encode_image(pixels), 1e-2)
    large = [t for t in onnx.load(text).graph.initializer if np.prod(t.dims) > 1000]
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}


def test_files_in_other_numbers_stay_beside_those_of_the_same_model(
    saved: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "onnx"
    export_onnx(saved, folder)
    before = {name: (folder / name).read_bytes() for name in (TEXT, IMAGE)}
    done = export_onnx(saved, folder, precision="float16")
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert done.notes == tuple(
        f"{name}, written before of the same model, is kept" for name in (TEXT, IMAGE)
    )
    assert find_onnx_files(folder, "float16").precision == "float16"
    card = (folder / "README.md").read_text()
    assert all(f"| {name} | float32, of an earlier export |" in card for name in before)

    longclip.save(small_clip(seed=1), tmp_path / "other")
    done = export_onnx(tmp_path / "other", folder, precision="float16")
    assert not done.notes
    assert not any((folder / name).exists() for name in before)


def test_half_precision_that_overflows_is_not_published(tmp_path: Path) -> None:
    """Its embeddings are NaN, which no comparison finds larger than a bound."""
    model = small_clip()
    with torch.no_grad():
        for parameter in model.text_model.encoder.layers[0].mlp.fc2.parameters():
            parameter.mul_(3e5)
    longclip.save(model, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"_fp16\.onnx gives embeddings that are not finite"):
        export_onnx(tmp_path / "model", tmp_path / "onnx", precision="float16")
    assert not (tmp_path / "onnx").exists()


def test_weights_beyond_the_limit_lie_beside(
    saved: Path, model: longclip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_writer, "MAX_FILE_BYTES", 1_000_000)
    done = export_onnx(saved, tmp_path / "onnx")
    text = tmp_path / "onnx" / TEXT
    beside = text.with_name("text_model.onnx_data")
    assert text.stat().st_size < 1_000_000 < beside.stat().st_size
    assert done.towers[0].bytes == text.stat().st_size + beside.stat().st_size
    assert not (tmp_path / "onnx/onnx/vision_model.onnx_data").exists()
    ids = model.token_ids(TEXTS, warn=False)
    assert_near(run_onnx(text, ids), model.encode_text(ids))
    # It may be written over, since both files are of an export.
    onnx_directory.refuse_foreign_files(tmp_path / "onnx", "onnx")


def test_a_card_names_a_model_of_the_hub_and_no_commit(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the hub's cache its directory has the name of a commit."""
    snapshot = tmp_path / "models--someone--clip-v1.5" / "snapshots" / "0123abc"
    shutil.copytree(saved, snapshot)
    monkeypatch.setattr("longclip.model.pretrained.fetch", lambda *_: snapshot)
    monkeypatch.setattr("longclip.model.pretrained.check_model_name", lambda *_: None)
    export_onnx("someone/clip-v1.5", tmp_path / "onnx")
    convert("someone/clip-v1.5", tmp_path / "hf")
    for place in ("onnx", "hf"):
        card = (tmp_path / place / "README.md").read_text()
        assert "# someone/clip-v1.5\n" in card
        assert "| source | someone/clip-v1.5 (Hugging Face) |" in card
        assert "0123abc" not in card
    (tmp_path / "file.safetensors").touch()
    assert source_name(tmp_path / "file.safetensors" / "part") == "part"


def test_a_file_that_computes_something_else_is_not_published(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = onnx_directory.write_tower

    def broken(model: longclip.CLIP, *arguments: object) -> object:
        with torch.no_grad():
            model.text_model.final_layer_norm.bias.add_(0.1)
        return write(model, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx_directory, "write_tower", broken)
    with pytest.raises(CheckpointError, match=r"text_model\.onnx does not compute what the model"):
        export_onnx(saved, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_tower_that_torch_cannot_export(tmp_path: Path) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if float(x.sum()) > 0 else x

    with pytest.raises(CheckpointError, match=r"t\.onnx cannot be made: torch .* does not export"):
        onnx_writer.write_onnx(
            tmp_path / "t.onnx",
            Branching(),
            torch.zeros(2, 3),
            input_name="x",
            output_name="y",
            dynamic={0: "batch_size"},
            metadata={"longclip.version": "0"},
        )


def test_only_exports_are_written_over(saved: Path, exported: tuple[Export, Path]) -> None:
    with pytest.raises(FileExistsError, match=r"holds no onnx/text_model\.onnx or another file"):
        export_onnx(saved, saved)
    assert (saved / "model.safetensors").exists()
    _, path = exported
    (path / "notes.txt").write_text("important")
    try:
        with pytest.raises(FileExistsError, match=r"holds notes\.txt beside ONNX files"):
            export_onnx(saved, path)
    finally:
        (path / "notes.txt").unlink()
    onnx_directory.refuse_foreign_files(path, "onnx")


def test_convert_names_the_function_that_writes_onnx(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"longclip\.export\.export_onnx"):
        convert(saved, tmp_path / "x", "onnx")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_how_near_it_comes(run: Run, saved: Path) -> None:
    outcome = run("convert", saved, "out", "--to", "onnx")
    assert outcome.code == 0
    assert "onnx/text_model.onnx: " in outcome.out
    assert "largest difference text " in outcome.out
    assert "next: longclip eval onnx:" in outcome.out
    assert "torchvision" not in outcome.err  # what torch's exporter says of itself
    refused = run("convert", saved, "out2", "--to", "onnx", "--dtype", "bfloat16")
    assert refused.code == 1
    assert "take float16 or float32" in refused.err
    refused = run("convert", saved, "out2", "--to", "onnx", "--shard-size", "1")
    assert refused.code == 1
    assert "--shard-size is for --to hf" in refused.err


def test_missing_libraries_are_named() -> None:
    code = """
import sys
from importlib import util
find = util.find_spec
util.find_spec = lambda name, *rest: None if name == "onnxscript" else find(name, *rest)
from longclip.cli import main
main()
"""
    command = [sys.executable, "-c", code, "convert", "nano", "out", "--to", "onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'onnxscript, which is not installed: pip install "longclip[export]"' in done.stderr
