"""Models by their hub names, against a local server; no test reaches the network."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.checkpoints.catalogue import find_known_model
from longclip.checkpoints.formats import openclip
from longclip.checkpoints.model_names import is_hub_id
from longclip.errors import UsageError
from longclip.model.config import CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.hub_server import COMMIT, hub_server
from tests.helpers.models import SMALL, small_clip
from tests.helpers.sentencepiece_cases import recorded_model
from tests.helpers.unigram import write_unigram

SCRIPT = """
import sys, torch, longclip
try:
    model = longclip.load(sys.argv[1], revision=sys.argv[2] or None)
except ValueError as error:
    print("ERROR", error)
else:
    print(f"{model.encode_text(torch.tensor([[49406, 5, 49407]])).sum().item():.6f}")
"""


def load(
    name: str, cache: Path, endpoint: str, *, revision: str = "", offline: bool = False
) -> str:
    """What a fresh process prints; the hub's library reads its environment when imported."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-c", SCRIPT, name, revision]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


ALL_OF_THEM = """
import sys, torch, longclip
for name in sys.argv[1:]:
    model = longclip.load(name)
    value = model.encode_text(torch.tensor([[49406, 5, 49407]])).sum().item()
    print(model.name, f"{value:.6f}")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    longclip.save(small_clip(), root / "owner" / "clip")
    # As the public repositories: the same weights in several layouts.
    (root / "owner" / "clip" / "open_clip_config.json").write_text("{}")
    (root / "owner" / "clip" / "open_clip_pytorch_model.bin").write_bytes(b"not fetched")
    (root / "owner" / "clip" / "pytorch_model.bin").write_bytes(b"not fetched")
    (root / "owner" / "empty").mkdir()
    pipeline = root / "owner" / "pipeline"
    longclip.save(longclip.load(root / "owner" / "clip", tower="text"), pipeline / "text_encoder")
    weights = pipeline / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("model.fp16.safetensors"))
    shutil.copytree(root / "owner" / "clip", root / "owner" / "old" / "0_CLIPModel")
    (root / "owner" / "old" / "modules.json").write_text("[]")
    (pipeline / "unet").mkdir()
    (pipeline / "unet" / "model.safetensors").write_bytes(b"not fetched")
    return root


@pytest.fixture(scope="module")
def expected() -> str:
    ids = torch.tensor([[49406, 5, 49407]])
    return f"{small_clip().encode_text(ids).sum().item():.6f}"


def test_a_model_is_fetched_once(models: Path, expected: str, tmp_path: Path) -> None:
    with hub_server(models) as (endpoint, requests):
        assert load("owner/clip", tmp_path, endpoint) == expected
        fetched = {line.rpartition("/")[2] for line in requests if line.startswith("GET owner")}
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= fetched
        assert not any(name.endswith(".bin") or "open_clip" in name for name in fetched)
        requests.clear()
        assert load("owner/clip", tmp_path, endpoint, revision=COMMIT) == expected
        assert not any("model.safetensors" in line for line in requests if "GET" in line)
    # The server is gone: what is in the cache is enough, asked for or not.
    assert load("owner/clip", tmp_path, endpoint) == expected
    assert load("owner/clip", tmp_path, endpoint, offline=True) == expected


def test_the_old_layout_of_sentence_transformers(models: Path, tmp_path: Path) -> None:
    with hub_server(models) as (endpoint, requests):
        found = load("owner/old", tmp_path, endpoint)
        assert found == load(str(models / "owner" / "clip"), tmp_path, endpoint)
    assert any(path.endswith("0_CLIPModel/model.safetensors") for path in requests)


def test_a_part_of_a_pipeline(models: Path, expected: str, tmp_path: Path) -> None:
    with hub_server(models) as (endpoint, requests):
        assert load("owner/pipeline/text_encoder", tmp_path, endpoint) == expected
        assert not any("unet" in line for line in requests)
        assert "owner/model/text_encoder" in load("owner/pipeline", tmp_path, endpoint)
        answer = load("owner/pipeline/text_encoder_2", tmp_path, endpoint)
        assert "text_encoder_2 holds no CLIP weights" in answer
    assert load("owner/pipeline/text_encoder", tmp_path, endpoint, offline=True) == expected
    answer = load("owner/pipeline/text_encoder_2", tmp_path, endpoint, offline=True)
    assert "not in the cache" in answer


def test_what_cannot_be_had(models: Path, tmp_path: Path) -> None:
    with hub_server(models) as (endpoint, _):
        assert "there is no model owner/clop on the hub" in load("owner/clop", tmp_path, endpoint)
        assert "has no revision 'v9'" in load("owner/clip", tmp_path, endpoint, revision="v9")
        assert "holds no CLIP weights" in load("owner/empty", tmp_path, endpoint)
    for offline in (True, False):
        answer = load("owner/clip", tmp_path / "other", endpoint, offline=offline)
        assert "not in the cache and the hub cannot be reached" in answer
        assert "local directory or file" in answer
        assert "`nano`" in answer


def test_layouts_of_known_models(tmp_path: Path) -> None:
    """Repositories of the catalogue as they are laid out, by their short names."""
    hub = tmp_path / "hub"
    shape = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1}
    shape["num_hidden_layers"] = 2
    vision = replace(SMALL.vision or VisionConfig(), **shape)
    clip = small_clip(CLIPConfig(text=TextConfig(**shape), vision=vision, projection_dim=24))
    expected = f"{clip.encode_text(torch.tensor([[49406, 5, 49407]])).sum().item():.6f}"

    def place(name: str) -> Path:
        known = find_known_model(name)
        return hub / (known.hub if known else name)

    def publish(name: str, source: Path = tmp_path / "clip") -> Path:
        return Path(shutil.copytree(source, place(name)))

    def pickle(directory: Path, old: str, new: str) -> None:
        torch.save(load_file(directory / old), directory / new)
        (directory / old).unlink()

    longclip.save(longclip.stretch(clip, 248), tmp_path / "long")
    place("LongCLIP-L").mkdir(parents=True)
    convert(tmp_path / "long", place("LongCLIP-L") / "longclip-L.pt", "longclip")
    longclip.save(clip, tmp_path / "clip")
    convert(tmp_path / "clip", tmp_path / "openclip", "openclip")
    publish("EVA02-B-16", tmp_path / "openclip")
    pickle(publish("DFN2B-B-16", tmp_path / "openclip"), openclip.WEIGHTS, openclip.PICKLED)
    shutil.copytree(tmp_path / "openclip", publish("LAION2B-B-32"), dirs_exist_ok=True)
    pickle(publish("MetaCLIP-B-32"), "model.safetensors", "pytorch_model.bin")
    (place("MetaCLIP-B-32") / "metaclip_b32_fullcc2.5b.bin").write_bytes(b"not fetched")
    (publish("LongCLIP-L-GmP") / "Long-ViT-L-14-GmP-ft.safetensors").write_bytes(b"not fetched")
    # OpenCLIP's and timm's: the configuration and two of the files are of an image tower.
    shared = publish("timm/vit_base_patch32_clip_224.openai", tmp_path / "openclip")
    (shared / "config.json").write_text('{"architecture": "vit_base_patch32_clip_224"}')
    (shared / "model.safetensors").write_bytes(b"not fetched")
    (shared / "pytorch_model.bin").write_bytes(b"not fetched")
    names = ["longclip-l", "EVA02-B-16", "DFN2B-B-16", "laion2b-b-32", "MetaCLIP-B-32"]
    names += ["LongCLIP-L-GmP", str(shared.relative_to(hub))]
    with hub_server(hub) as (endpoint, requests):
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-c", ALL_OF_THEM, *names]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{place(n).relative_to(hub)} {expected}" for n in names]
    fetched = {line.partition(" ")[2].replace("/resolve/main/", "/") for line in requests}
    assert f"{shared.relative_to(hub)}/open_clip_model.safetensors" in fetched
    asked = [hub / name for name in fetched if (hub / name).is_file()]
    assert [path for path in asked if path.read_bytes() == b"not fetched"] == []


def test_a_misspelt_name_is_told_with_the_nearest(models: Path, tmp_path: Path) -> None:
    name, near = "openai/clip-vit-base-patch61", "did you mean openai/clip-vit-base-patch16"
    with hub_server(models) as (endpoint, _):
        assert near in load(name, tmp_path, endpoint)
    assert near in load(name, tmp_path, endpoint, offline=True)
    known = load("ViT-B/16", tmp_path, endpoint, offline=True)
    assert "openai/clip-vit-base-patch16 is not in the cache" in known
    assert "did you mean" not in known


OWN_TOKENIZER = """
import sys, longclip
model = longclip.load(sys.argv[1])
print(model.config.text.pad_token_id)
try:
    print(*model.tokenizer.encode(["A red dog!"])[0])
except ValueError as error:
    print("ERROR", error)
"""


@pytest.mark.parametrize("file", ["tokenizer.json", "spiece.model"])
def test_a_tokenizer_that_openclips_configuration_names(file: str, tmp_path: Path) -> None:
    """It is fetched, cached, carried along, and missed only by the first text."""
    hub, cache = tmp_path / "hub", tmp_path / "cache"
    (hub / "owner/words").mkdir(parents=True)
    config = {
        "pad_token": "</s>",
        "added_tokens_decoder": {"1": {"content": "</s>", "special": True}},
    }
    write_unigram(hub / "owner/words", **config)
    if file != "tokenizer.json":
        (hub / "owner/words/tokenizer.json").unlink()
        (hub / "owner/words" / file).write_bytes(recorded_model("T5"))
    (hub / "owner/words/model.safetensors").write_bytes(b"not fetched")
    [ids] = tokenizer_files(hub / "owner/words", ("repair", "canonicalize")).tokenizer.encode(
        ["A red dog!"]
    )
    model = write_openclip(tmp_path / "model", "owner/words")

    def ask(directory: Path, endpoint: str, script: str = OWN_TOKENIZER) -> list[str]:
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)}
        command = [sys.executable, "-c", script, str(directory)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    with hub_server(hub) as (endpoint, requests):
        absent = write_openclip(tmp_path / "absent", "owner/nobody")
        assert "there is no model owner/nobody on the hub" in ask(absent, endpoint)[1]
        odd = write_openclip(tmp_path / "odd", "../words")
        assert "names '../words', which is no owner/model on the hub" in ask(odd, endpoint)[1]
        gone = ask(model, "http://127.0.0.1:9")
        assert "owner/words is not in the cache and the hub cannot be reached" in gone[1]
        found = ask(model, endpoint)
        assert found == ["1", " ".join(map(str, ids))]
        assert not any("safetensors" in line for line in requests)
    assert ask(model, endpoint) == found
    save = "import sys, longclip; longclip.save(longclip.load(sys.argv[1]), sys.argv[1] + '-saved')"
    ask(model, endpoint, save)
    shutil.rmtree(cache)
    assert ask(Path(f"{model}-saved"), endpoint) == found


def write_openclip(directory: Path, tokenizer: str) -> Path:
    """Write a SigLIP as OpenCLIP's configurations describe it, with random weights."""
    text = {"context_length": 16, "vocab_size": 300, "width": 16, "heads": 2, "layers": 1}
    text |= {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    text |= {"hf_tokenizer_name": tokenizer, "tokenizer_kwargs": {"clean": "canonicalize"}}
    vision = {"image_size": 16, "patch_size": 8, "width": 64, "layers": 1}
    described = {"embed_dim": 16, "init_logit_bias": -10, "custom_text": True}
    described |= {"vision_cfg": vision, "text_cfg": text}
    directory.mkdir()
    (directory / "open_clip_config.json").write_text(json.dumps({"model_cfg": described}))
    own = {openclip.CONFIG: {"model_cfg": described}}
    config = openclip.describe({"model_cfg": described})
    torch.manual_seed(0)
    model = longclip.CLIP(CLIPConfig.from_json(config))
    tensors = openclip.from_internal(model.state_dict(), {"own": own})
    save_file({n: t.contiguous() for n, t in tensors.items()}, directory / openclip.WEIGHTS)
    return directory


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        ("openai/clip-vit-base-patch16", True),
        ("BeichenZhang/LongCLIP-B", True),
        ("stabilityai/stable-diffusion-xl-base-1.0/text_encoder_2", True),
        ("h94/IP-Adapter/image_encoder", True),
        ("runs/paper/model", False),
        ("./model/x", False),
        ("nano", False),
        ("../x", False),
    ],
)
def test_what_is_a_hub_name(name: str, is_id: bool) -> None:
    assert is_hub_id(name) == is_id


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "nano", "new", "--revision", "v1"),
        ("convert", ".", "new", "--revision", "v1"),
        ("prompt", "a boat", "--revision", "v1"),
        ("prompt", "a boat", "--model", "nano", "--revision", "v1"),
        ("generate", "a boat", "--model", ".", "--revision", "v1", "--out", "a.png"),
    ],
)
def test_a_revision_of_what_is_on_this_machine_is_refused(words: tuple[str, ...], run: Run) -> None:  # noqa: F811
    outcome = run(*words)
    assert outcome.code == 1
    assert "--revision v1 names a version on the hub" in outcome.err


def test_nor_does_python_ignore_it() -> None:
    with pytest.raises(UsageError, match="nano is on this machine; leave it out"):
        longclip.load("nano", revision="v1")
