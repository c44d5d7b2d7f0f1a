"""The engines: the same embeddings, identity and refusals, whatever computes a model."""

import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.encoders import open_encoder
from longclip.encoders.engines import choose_engine, open_model
from longclip.encoders.model_encoder import ModelEncoder
from longclip.encoders.onnx_files import read_metadata
from longclip.errors import CheckpointError, EncoderError, UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_texts
from longclip.evaluation.measure import evaluate
from longclip.model.identity import model_digest
from longclip.text.tokenizer import TruncationWarning
from tests.helpers.encoders import PaintedTexts
from tests.helpers.models import small_clip
from tests.helpers.onnx_models import change_metadata, write_onnx_model
from tests.helpers.other_towers import write_model

TEXTS = ["a red boat", "", "A house. " * 12, "x", "two dogs run along the beach at dusk"]
ENGINES = ("onnx", "openvino")


def pictures():
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return [Image.fromarray(noise), Image.fromarray(noise[:32, :32]), Image.new("RGB", (20, 70))]


@pytest.fixture(params=["torch", *ENGINES])
def encoder(request, onnx_model, tmp_path):
    if request.param != "torch":
        return longclip.load(onnx_model, engine=request.param)
    longclip.save(small_clip(), tmp_path / "model")
    return longclip.load(tmp_path / "model", engine="torch")


@pytest.fixture
def copied(onnx_model, tmp_path):
    return shutil.copytree(onnx_model, tmp_path / "copied")


def test_every_engine_gives_the_models_embeddings(encoder):
    model = small_clip()
    assert isinstance(encoder, ModelEncoder)
    assert encoder.digest == model_digest(model)
    assert (encoder.context_length, encoder.embedding_dim, encoder.vocab_size) == (77, 24, 49408)
    assert encoder.engine.endswith(", float32")
    expected = model.encode_text(TEXTS).numpy()
    np.testing.assert_allclose(encoder.encode_text(TEXTS), expected, atol=2e-5)
    np.testing.assert_allclose(encoder.encode_text(TEXTS[:1]), expected[:1], atol=2e-5)
    ids = model.tokenizer.encode(TEXTS)
    np.testing.assert_allclose(encoder.embed_ids(ids), expected, atol=2e-5)
    images = model.encode_image(pictures()).numpy()
    np.testing.assert_allclose(encoder.encode_image(pictures()), images, atol=2e-5)
    many = np.stack([encoder.prepare(pictures()[0])] * 150)
    rows = encoder.embed_pixels(many)
    np.testing.assert_allclose(rows, np.repeat(images[:1], 150, 0), atol=2e-5)
    assert rows.dtype == np.float32
    assert encoder.embed_ids([]).shape == (0, 24)
    with pytest.warns(TruncationWarning):
        encoder.encode_text(["a boat " * 99])


def test_every_engine_refuses_ids_that_are_none(encoder):
    for wrong in ([[49406, 49408, 49407]], [[49406, *[5] * 77, 49407]]):
        with pytest.raises(UsageError, match=r"vocabulary of 49408|reads (1 to )?77"):
            encoder.embed_ids(wrong)


def test_every_engine_travels_to_other_processes(encoder):
    there = pickle.loads(pickle.dumps(encoder)).to("cpu")
    np.testing.assert_array_equal(there.encode_text(TEXTS), encoder.encode_text(TEXTS))


def test_an_evaluation_is_the_same_within_rounding(onnx_model):
    collection = PaintedTexts(
        tuple(TEXTS[:1] + TEXTS[3:]),
        tuple(longclip.data.Captions(short=(text,)) for text in TEXTS[:1] + TEXTS[3:]),
    )
    results = [
        evaluate(encoder, collection, name="same")
        for encoder in (small_clip(), *(open_encoder(f"{e}:{onnx_model}") for e in ENGINES))
    ]
    expected, *others = [result.short.recall for result in results]
    assert expected.texts == len(collection)
    for found in others:
        for direction in ("image_to_text", "text_to_image"):
            assert getattr(found, direction) == pytest.approx(
                getattr(expected, direction), abs=1e-4
            )


def test_identity_of_embeddings_in_a_cache(onnx_model, int8_model, copied, tmp_path):
    prints = {longclip.load(onnx_model, engine=engine).fingerprint for engine in ENGINES}
    prints |= {longclip.load(int8_model, engine="onnx").fingerprint, small_clip_fingerprint()}
    assert len(prints) == 4
    assert longclip.load(copied, engine="onnx").fingerprint in prints
    cache = EmbeddingCache(tmp_path / "cache")
    for _ in range(2):
        rows = embed_texts(longclip.load(copied, engine="onnx"), TEXTS, cache=cache)
    np.testing.assert_allclose(rows, small_clip().encode_text(TEXTS), atol=2e-5)


def small_clip_fingerprint():
    return longclip.encoders.CLIPEncoder(small_clip()).fingerprint


@pytest.mark.parametrize("engine", ENGINES)
def test_eight_bit_is_the_same_model_and_said(engine, int8_model):
    said = []
    encoder = open_model(str(int8_model), engine=engine, on_choice=said.append)
    assert encoder.engine.endswith(", int8")
    assert encoder.digest == model_digest(small_clip())
    assert said == [f"{int8_model} has no ONNX files of float32: computed with int8"]
    rows, expected = encoder.encode_text(TEXTS), small_clip().encode_text(TEXTS).numpy()
    cosines = (rows * expected).sum(1) / np.linalg.norm(rows, axis=1)
    assert (cosines / np.linalg.norm(expected, axis=1) > 0.98).all()
    said.clear()
    open_model(str(int8_model), engine=engine, dtype="int8", on_choice=said.append)
    assert said == []


def test_auto_takes_torch_for_weights_and_an_engine_for_onnx_files_alone(
    copied, tmp_path, monkeypatch
):
    said = []
    assert open_model(str(copied), on_choice=said.append).engine == "onnxruntime, float32"
    assert said == [f"{copied} has ONNX files and no weights: computed by --engine onnx"]
    for there, engine in (("openvino", "openvino"), ("neither", "onnx")):
        monkeypatch.setattr(
            "longclip.encoders.engines.find_spec", lambda name, there=there: name == there or None
        )
        assert choose_engine(str(copied), "auto")[0] == engine
    longclip.save(small_clip(), tmp_path / "both")
    shutil.copytree(copied / "onnx", tmp_path / "both" / "onnx")
    said.clear()
    assert open_model(str(tmp_path / "both"), on_choice=said.append).engine == "torch, float32"
    assert said == []


def test_what_a_training_leaves_beside_onnx_files_is_no_model(copied):
    (copied / "training_args.bin").write_bytes(b"no weights")
    assert choose_engine(str(copied), "auto")[0] == "onnx"


def test_onnx_files_alone_are_nothing_to_torch(copied):
    for options in ({}, {"engine": "torch"}):
        with pytest.raises(
            CheckpointError, match=r"no weights, which torch needs: take --engine onnx"
        ):
            longclip.load(copied, **options)


def test_files_of_others_without_our_metadata(copied):
    """As transformers.js has them: the identity is the files' own."""
    for tower in ("text_model", "vision_model"):
        path = copied / "onnx" / f"{tower}.onnx"
        change_metadata(path, dict.fromkeys(read_metadata(path)))
        assert read_metadata(path) == {}
    encoder = longclip.load(copied, engine="onnx")
    np.testing.assert_allclose(
        encoder.encode_text(TEXTS), small_clip().encode_text(TEXTS), atol=2e-5
    )
    digest = encoder.digest
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert digest != model_digest(small_clip())
    assert longclip.load(copied, engine="openvino").digest == digest
    change_metadata(path, {"other": "words"})
    assert longclip.load(copied, engine="onnx").digest != digest


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (
            "weights",
            {},
            r"weights has no ONNX files of both.*convert .*weights NEW_D.*onnx",
        ),
        ("photos", {}, r"photos has no ONNX files of both.*convert MODEL NEW_D.*onnx"),
        ("nano", {}, r"nano is none; write one with: longclip convert nano DIRECTORY --to onnx"),
        ("copied", {"dtype": "float16"}, r"has ONNX files of float32, and none of float16; take"),
        ("copied", {"dtype": "int8"}, r"none of int8.* --to onnx --int8 --data DATA"),
        ("copied", {"dtype": "bfloat16"}, r"computes with float32, float16, int8, as its files"),
        ("copied", {"device": "cuda"}, r"--device cuda is for --engine torch"),
        ("copied", {"tower": "text"}, r"takes no tower with an engine"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_engine_cannot_do(engine, source, options, message, copied, tmp_path):
    longclip.save(small_clip(), tmp_path / "weights")
    (tmp_path / "photos").mkdir()
    place = source if source == "nano" else tmp_path / source
    with pytest.raises((EncoderError, UsageError), match=message):
        longclip.load(place, engine=engine, **options)


def test_an_engine_that_there_is_not(copied):
    with pytest.raises(UsageError, match=r"no engine 'tensorrt', only auto, torch, onnx, openvino"):
        longclip.load(copied, engine="tensorrt")


@pytest.mark.parametrize("spec", ["transformers:x", "open_clip:x/y", "npy:x"])
def test_an_engine_for_what_has_its_own_is_refused(spec, onnx_model):
    with pytest.raises(UsageError, match=rf"--engine onnx is for models of ours, and {spec} is"):
        open_encoder(spec, engine="onnx")
    with pytest.raises(UsageError, match=r"is computed by onnx, and --engine is openvino"):
        open_encoder(f"onnx:{onnx_model}", engine="openvino")
    assert open_encoder(f"onnx:{onnx_model}", engine="onnx").engine == "onnxruntime, float32"


def test_a_device_may_be_torchs(onnx_model):
    opened = longclip.load(onnx_model, engine="onnx", device=torch.device("cpu"))
    assert opened.engine == "onnxruntime, float32"


def test_no_pictures_give_no_rows(encoder):
    assert encoder.encode_image([]).shape == (0, 24)
    assert encoder.encode_text([]).shape == (0, 24)


@pytest.mark.parametrize("engine", ENGINES)
def test_files_are_found_from_another_working_directory(engine, onnx_model, tmp_path, monkeypatch):
    """They are opened when they are used, maybe by a worker of a cluster."""
    monkeypatch.chdir(onnx_model.parent)
    opened = longclip.load(onnx_model.name, engine=engine)
    sent = pickle.dumps(opened)
    monkeypatch.chdir(tmp_path)
    for one in (opened, pickle.loads(sent)):
        assert one.encode_text(["a boat"]).shape == (1, 24)


def test_what_openvino_says_comes_without_places_in_its_source(copied):
    (copied / "onnx" / "text_model.onnx").write_bytes(bytes([0x3A, 4]) + b"\xff" * 4)
    with pytest.raises(EncoderError, match=r"opened by openvino: Unable to read the model"):
        longclip.load(copied, engine="openvino").encode_text(["a boat"])


def test_eight_bit_without_an_engine_of_onnx_files(copied):
    with pytest.raises(
        UsageError, match=r"--dtype int8 is for ONNX files of 8 bits .*--engine onnx"
    ):
        longclip.load("nano", engine="torch", dtype="int8")
    with pytest.raises(EncoderError, match=r"int8 is for ONNX files, not transformers:x"):
        open_encoder("transformers:x", dtype="int8")


@pytest.mark.parametrize("engine", ENGINES)
def test_damaged_files(engine, copied):
    path = copied / "onnx" / "text_model.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(
        EncoderError, match=r"text_model.onnx is no ONNX file, or is cut off; fetch"
    ):
        longclip.load(copied, engine=engine)
    for garbage in (b"", b"\x08", b"no ONNX file at all" * 9):
        path.write_bytes(garbage)
        with pytest.raises(EncoderError, match=r"text_model.onnx is no ONNX file"):
            longclip.load(copied, engine=engine)
    # Whole as a message, and no network: the one who reads it finds out.
    path.write_bytes(bytes([0x3A, 4]) + b"\xff" * 4)
    with pytest.raises(EncoderError, match=r"text_model.onnx cannot be opened by .*again"):
        longclip.load(copied, engine=engine).encode_text(["a boat"])
    (copied / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        longclip.load(copied, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_files_of_two_models_are_not_mixed(engine, copied):
    change_metadata(copied / "onnx" / "vision_model.onnx", {"longclip.model_digest": "b" * 64})
    with pytest.raises(EncoderError, match=r"text_model.onnx and .*made from different models"):
        _ = longclip.load(copied, engine=engine).digest


@pytest.mark.parametrize("engine", ENGINES)
def test_a_config_of_another_model(engine, copied):
    config = copied / "config.json"
    config.write_text(config.read_text().replace('"projection_dim": 24', '"projection_dim": 32'))
    with pytest.raises(EncoderError, match=r"gives \[1, 24\] for 1 inputs.* says 32 numbers each"):
        longclip.load(copied, engine=engine).encode_text(["a boat"])


def test_a_file_under_the_name_of_another_precision(copied):
    for tower in ("text_model", "vision_model"):
        (copied / "onnx" / f"{tower}.onnx").rename(copied / "onnx" / f"{tower}_fp16.onnx")
    with pytest.raises(EncoderError, match=r"name of a file of float16 and says .* one of float32"):
        longclip.load(copied, engine="onnx")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_with_other_names(engine, copied):
    import onnx

    path = copied / "onnx" / "text_model.onnx"
    model = onnx.load(path)
    name = model.graph.output[0].name
    model.graph.output[0].name = "logits"
    for node in model.graph.node:
        node.output[:] = ["logits" if each == name else each for each in node.output]
    onnx.save(model, path)
    with pytest.raises(
        EncoderError, match=r"inputs input_ids and the outputs logits; a tower here"
    ):
        longclip.load(copied, engine=engine).encode_text(["a boat"])


@pytest.mark.parametrize(("engine", "library"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_runtime_is_named_with_what_installs_it(engine, library, copied, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(
        "longclip.util.libraries.importlib.util.find_spec",
        lambda name: None if name == library else object(),
    )
    message = rf'engine {engine} needs {library}, which is not installed: .*"longclip\[{engine}\]"'
    with pytest.raises(UsageError, match=message):
        longclip.load(copied, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_of_onnx_files_leave_torch_out(engine, onnx_model):
    code = (
        "import sys, longclip\n"
        f"encoder = longclip.load({str(onnx_model)!r}, engine={engine!r})\n"
        "assert encoder.encode_text(['a boat']).shape == (1, 24) and encoder.digest\n"
        "assert encoder.embed_pixels(__import__('numpy').zeros((1, 32, 32, 3), 'u1')).any()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_signal_does_not_kill_where_models_of_openvino_came_and_went(onnx_model):
    code = (
        "import gc, os, signal, longclip\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        f"open = lambda: longclip.load({str(onnx_model)!r}, engine='openvino')\n"
        "first = open(); first.encode_text(['a boat'])\n"
        "second = open(); second.encode_text(['a boat'])\n"
        "del first; gc.collect()\n"
        "del second; gc.collect()\n"
        "ballast = [bytes(range(1, 255)) * 40 for _ in range(20_000)]\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("kind", ["siglip", "timm"])
def test_models_of_other_families(kind, tmp_path):
    """One reads its padding and has a tokenizer of its own, one has OpenCLIP's layout."""
    pytest.importorskip("transformers")
    model = longclip.load(write_model(kind, tmp_path / "weights"))
    folder = write_onnx_model(model, tmp_path / "onnx")
    for engine in ENGINES:
        encoder = longclip.load(folder, engine=engine)
        assert encoder.digest == model_digest(model)
        np.testing.assert_allclose(encoder.encode_text(TEXTS), model.encode_text(TEXTS), atol=1e-4)
        images = model.encode_image(pictures())
        np.testing.assert_allclose(encoder.encode_image(pictures()), images, atol=1e-4)
