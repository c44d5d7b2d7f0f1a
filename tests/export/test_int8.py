"""ONNX files of 8 bits: what is rounded and how, and what is found with them."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.data import open_collection
from longclip.errors import CheckpointError, DataError, UsageError
from longclip.export import Export, Int8, export_onnx, onnx_directory, recall
from longclip.export.quantize import quantize_text
from longclip.model import CLIPConfig
from longclip.model.identity import model_digest
from tests.helpers.cli import Run, run
from tests.helpers.models import SMALL, small_clip
from tests.helpers.onnx_files import Array, run_onnx

__all__ = ["run"]

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PAIRS = 60
TEXTS = ["a red boat", "a small blue house beside two large green trees", ""]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Export, Path]:
    """The bundled model, whose embeddings mean something."""
    path = tmp_path_factory.mktemp("int8") / "onnx"
    int8 = Int8(data="scenes/test-short", calibration_pictures=24, max_recall_loss=5, pairs=PAIRS)
    return export_onnx("nano", path, int8=int8), path


def file(path: Path, tower: str) -> Any:
    return onnx.load(path / "onnx" / f"{tower}_model_quantized.onnx")


def stored(model: Any) -> dict[str, Array]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


def cosines(found: Array, expected: torch.Tensor) -> Array:
    rows = torch.from_numpy(found)
    return torch.nn.functional.cosine_similarity(rows, expected).numpy()


def test_embeddings_keep_their_direction(exported: tuple[Export, Path]) -> None:
    done, path = exported
    model = longclip.load("nano")
    ids = model.token_ids(TEXTS)
    found = run_onnx(path / "onnx/text_model_quantized.onnx", ids)
    assert cosines(found, model.encode_text(ids)).min() > 0.998
    scenes = open_collection("scenes/test")
    pictures = [scenes.image(index) for index in range(4)]
    pixels = torch.stack([model.preprocess(picture) for picture in pictures])
    found = run_onnx(path / "onnx/vision_model_quantized.onnx", pixels)
    assert cosines(found, model.encode_image(pixels)).min() > 0.998
    sizes = {(tower.tower, tower.precision): tower.bytes for tower in done.towers}
    assert sizes["text", "int8"] < 0.3 * sizes["text", "float32"]
    assert sizes["image", "int8"] < 0.4 * sizes["image", "float32"]
    for tower in ("text", "vision"):
        entries = {e.key: e.value for e in file(path, tower).metadata_props}
        assert entries["longclip.precision"] == "int8"
        assert entries["longclip.model_digest"] == model_digest(model)


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_no_pair_of_products_overflows_16_bits(exported: tuple[Export, Path], tower: str) -> None:
    """255 · w + 255 · w must stay below 2^15 on processors that add them in 16 bits."""
    _, path = exported
    model = file(path, tower)
    weights = stored(model)
    rounded = {
        name: values
        for name, values in weights.items()
        if values.dtype == np.int8 and values.ndim == 2 and not name.startswith("token_embedding")
    }
    # Four layers of q, k, v, out, fc1, fc2; and in texts the projection.
    assert len(rounded) == 24 + (tower == "text")
    for name, values in rounded.items():
        assert np.abs(values.astype(int)).max() * 255 * 2 < 2**15
        scale = weights[name.replace("_quantized", "_scale")]
        assert scale.shape == (values.shape[1],)  # one for each output


def test_what_is_no_product_of_weights_stays_float32(exported: tuple[Export, Path]) -> None:
    _, path = exported
    model = file(path, "vision")
    weights = stored(model)
    for name in ("tower.patch_weight", "tower.projection.weight", "tower.pre_layernorm.weight"):
        assert weights[name].dtype == np.float32
    # Attention's own products take no rounded numbers: queries times keys, and shares times values.
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    own = [
        node for node in products if all(makers.get(x) != "DequantizeLinear" for x in node.input)
    ]
    assert len(own) == 2 * 4 + 2


def test_each_token_is_rounded_by_itself(exported: tuple[Export, Path]) -> None:
    _, path = exported
    weights = stored(file(path, "text"))
    table = longclip.load("nano").text_model.embeddings.token_embedding.weight.detach().numpy()
    assert "token_embedding.weight" not in weights
    rows, scales = (weights[f"token_embedding.weight_{part}"] for part in ("quantized", "scale"))
    assert rows.dtype == np.int8
    assert scales.shape == (len(table), 1)
    assert (np.abs(rows * scales - table) <= scales / 2 + 1e-7).all()


def test_recall_is_that_of_the_files(exported: tuple[Export, Path]) -> None:
    """One way, counted here anew: no other picture may be as near as a text's own."""
    done, path = exported
    kinds = {(pair.task, pair.direction) for pair in done.recall}
    assert kinds == {(t, d) for t in ("long", "short") for d in ("image_to_text", "text_to_image")}
    assert {(pair.images, pair.data) for pair in done.recall} == {(PAIRS, "scenes/test-short")}
    model, scenes = longclip.load("nano"), open_collection("scenes/test-short")
    order = np.random.default_rng(0).permutation(len(scenes))
    items = np.sort(order[24 : 24 + PAIRS])
    texts = [scenes.captions(int(i)).long[0] for i in items]
    pixels = torch.stack([model.preprocess(scenes.image(int(i))) for i in items])
    for ending, precision in ((".onnx", "float32"), ("_quantized.onnx", "int8")):
        images = run_onnx(path / f"onnx/vision_model{ending}", pixels)
        own = [
            run_onnx(path / f"onnx/text_model{ending}", model.token_ids(text, warn=False))[0]
            for text in texts
        ]
        rows = np.stack(own)
        scores = rows @ images.T / np.linalg.norm(rows, axis=1)[:, None]
        scores /= np.linalg.norm(images, axis=1)
        hits = (scores.argmax(axis=1) == np.arange(PAIRS)).mean()
        [pair] = [p for p in done.recall if (p.task, p.direction) == ("long", "text_to_image")]
        # A batch of texts has one range of activations, so a near tie may fall either way.
        assert getattr(pair, precision) == pytest.approx(hits, abs=1.5 / PAIRS)


def test_files_that_find_too_little_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = recall.RecallPair("photos", "long", "text_to_image", 50, 50, 0.80, 0.78)
    monkeypatch.setattr(onnx_directory, "compare_recall", lambda *_: (lost,))
    longclip.save(small_clip(), tmp_path / "model")
    int8 = Int8(data="scenes/test-short", calibration_pictures=4)
    with pytest.raises(
        CheckpointError, match=r"lose 2\.0 points .*text to image: 80\.0 to 78\.0.*allows 1;"
    ):
        export_onnx(tmp_path / "model", tmp_path / "onnx", int8=int8)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def painted(folder: Path, count: int) -> Path:
    """A folder of small pictures with a text each."""
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (40, 40), (10 * number, 90, 200)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"A square of {number} tenths of red. It is flat.")
    return folder


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    photos = painted(tmp_path / "photos", 12)
    (photos / "3.png").write_bytes(b"nothing")
    longclip.save(small_clip(), tmp_path / "model")
    int8 = Int8(data=str(photos), max_recall_loss=100)
    done = export_onnx(tmp_path / "model", tmp_path / "onnx", int8=int8)
    assert {pair.images for pair in done.recall} == {11}


def test_data_without_texts_are_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (40, 40)).save(tmp_path / "photos" / name / f"{number}.png")
    longclip.save(small_clip(), tmp_path / "model")
    monkeypatch.setattr(onnx_directory, "write_tower", None)
    int8 = Int8(data=str(tmp_path / "photos"))
    with pytest.raises(DataError, match=r"photos has no texts, by which recall"):
        export_onnx(tmp_path / "model", tmp_path / "onnx", int8=int8)


def test_a_full_disk_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onnxruntime.quantization.quantize_dynamic", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        quantize_text(tmp_path / "text_model.onnx", tmp_path / "new.onnx")
    assert caught.value.errno == errno.ENOSPC


def test_a_lone_tower_finds_nothing(tmp_path: Path) -> None:
    config = CLIPConfig(text=SMALL.text, vision=None, projection_dim=24)
    longclip.save(small_clip(config), tmp_path / "model")
    with pytest.raises(CheckpointError, match="one tower alone, so nothing is found with it"):
        export_onnx(tmp_path / "model", tmp_path / "onnx", int8=Int8(data="scenes"))
    with pytest.raises(UsageError, match="layout onnx alone"):
        export_onnx(tmp_path / "model", tmp_path / "onnx", "immich", int8=Int8(data="scenes"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "onnx", "--int8"), "--int8 needs --data"),
        (("--to", "onnx", "--data", "scenes"), "--data is for --int8"),
        (("--to", "hf", "--int8", "--data", "scenes"), "--int8 is for --to onnx"),
        (("--to", "onnx", "--max-recall-loss", "2"), "--max-recall-loss is for --int8"),
    ],
)
def test_options_that_do_not_go_together(run: Run, options: tuple[str, ...], said: str) -> None:
    outcome = run("convert", "nano", "out", *options)
    assert outcome.code == 1
    assert said in outcome.err
