"""Training of models whose image tower is another library's, and of those with a logit bias."""

import importlib.util
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import longclip
from longclip.errors import UsageError
from longclip.training import TrainConfig, train
from longclip.training.forward import Towers
from longclip.training.objectives import BatchFeatures, long_clip
from longclip.training.optimizer import make_optimizer
from longclip.training.recipes import best, paper
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.openclip_library import open_clip
from tests.helpers.other_towers import KINDS, write_model
from tests.helpers.training import train_until
from tests.training.test_distributed import launch, losses
from tests.training.test_resume import assert_same_weights, weights


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: write_model(kind, folder / kind) for kind in KINDS}


def tiny(model: Path, photos: Path, out: Path, **changes: Any) -> TrainConfig:
    config = replace(
        paper(),
        model=str(model),
        data=(str(photos),),
        out=out,
        steps=4,
        batch_size=8,
        lr=1e-3,
        pcm_components=4,
        workers=0,
        log_every=1,
        checkpoint_every=2,
        dtype="float32",
        device="cpu",
    )
    return replace(config, **changes)


def stored(directory: Path) -> dict[str, torch.Tensor]:
    [file] = directory.glob("*.safetensors")
    return load_file(file)


def of_images(name: str) -> bool:
    return name.startswith(("vision_model.", "visual."))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_without_its_model_and_leaves_one_of_the_same_layout(
    kind: str, models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    whole = train(tiny(models[kind], photos, tmp_path / "whole")).model
    gone = tmp_path / "gone"
    shutil.copytree(models[kind], gone)
    config = tiny(gone, photos, tmp_path / "stopped")
    train_until(config, 2)
    shutil.rmtree(gone)
    train(config, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")
    train(config, resume=True)  # once more, over the model that is there
    resumed = tmp_path / "stopped/model"
    files = {file.name for file in models[kind].iterdir()} | {"README.md"}
    if kind == "siglip":  # for sentence-transformers
        files |= {"modules.json", "sentence_bert_config.json"}
    assert {file.name for file in whole.iterdir()} == files
    for file in files - {"README.md"}:
        assert (whole / file).read_bytes() == (resumed / file).read_bytes(), file

    before, after = stored(models[kind]), stored(whole)
    assert before.keys() == after.keys()
    learned = {n for n in before if not torch.equal(before[n], after[n])}
    statistics = {n for n in before if n.endswith(("running_mean", "running_var", "_tracked"))}
    assert bool(statistics) == (kind == "resnet")
    assert learned.isdisjoint(statistics)
    assert {n for n in before if of_images(n)} - statistics - learned == set()

    ours = longclip.load(whole)
    ids = torch.randint(2, 200, (3, ours.context_length))
    ids[:, 40] = 49407
    side = ours.config.vision.image_size  # type: ignore[union-attr]
    pixels = torch.rand(2, 3, side, side)
    with torch.no_grad():
        if kind == "siglip":
            from transformers import SiglipModel

            theirs: Any = SiglipModel.from_pretrained(whole).eval()
            text, image = theirs.get_text_features(ids), theirs.get_image_features(pixels)
            text, image = (getattr(each, "pooler_output", each) for each in (text, image))
        else:
            theirs = open_clip().create_model(f"local-dir:{whole}").eval()
            text, image = theirs.encode_text(ids), theirs.encode_image(pixels)
        torch.testing.assert_close(ours.text_features(ids), text)
        torch.testing.assert_close(ours.image_features(pixels), image)


@pytest.mark.parametrize("kind", ["siglip", "resnet"])
@pytest.mark.parametrize("learn", ["text", "image", "positions"])
def test_what_is_not_to_learn_stays(
    kind: str, learn: Any, models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    config = tiny(models[kind], photos, tmp_path / "run", steps=1, learn=learn)
    after = stored(train(config).model)
    changed = {n for n, v in stored(models[kind]).items() if not torch.equal(v, after[n])}
    positions = {n for n in after if "position" in n and not of_images(n)}
    scalars = {n for n in after if n.startswith("logit_")}
    images = {n for n in after if of_images(n)}
    # The table is a longer one in any case.
    if learn == "positions":
        assert changed == positions
    elif learn == "image":
        assert changed - images == positions | scalars
        assert changed & images
    else:
        assert changed.isdisjoint(images)
        assert changed > positions | scalars


def test_a_model_with_a_bias_goes_on_learning_its_own(
    models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    config = tiny(models["siglip"], photos, tmp_path / "run", steps=2)
    lines: list[str] = []
    after = stored(train(config, on_start=lines.extend).model)
    assert lines[0].endswith("sigmoid loss")
    assert after["logit_bias"] != -10
    [*_, last] = (config.out / "metrics.jsonl").read_text().splitlines()
    assert json.loads(last)["logit_bias"] == float(after["logit_bias"])
    # CLIP's bound of the temperature, ln 100 = 4.605, is not SigLIP's.
    assert after["logit_scale"] != 4.7
    assert after["logit_scale"] > 4.69
    assert [n for n in weights(config.out) if n.endswith("logit_bias")] == ["model.clip.logit_bias"]
    stated = replace(config, out=tmp_path / "softmax", long_loss="softmax", short_loss="softmax")
    assert stored(train(stated).model)["logit_bias"] == -10


@pytest.mark.parametrize("pcm", [True, False])
def test_its_loss_judges_every_pair_by_itself(pcm: bool) -> None:
    torch.manual_seed(0)
    images, long = (F.normalize(torch.randn(6, 5, dtype=torch.float64), dim=-1) for _ in range(2))
    short = F.normalize(torch.randn(6, 5, dtype=torch.float64), dim=-1)
    scale, bias = torch.tensor(9.0).double(), torch.tensor(-7.0).double()
    config = replace(paper(), pcm=pcm, pcm_components=2).with_losses_of(logit_bias=True)
    features = BatchFeatures(images, scale, short if pcm else None, long, bias)
    found = long_clip(features, config, None)

    def slow(images: torch.Tensor, texts: torch.Tensor) -> float:
        total = 0.0
        for i, image in enumerate(images.tolist()):
            for j, text in enumerate(texts.tolist()):
                logit = 9.0 * sum(a * b for a, b in zip(image, text, strict=True)) - 7.0
                total += math.log1p(math.exp(-logit if i == j else logit))
        return total / len(texts)

    expected = slow(images, long)
    if pcm:
        centred = images - images.mean(dim=0)
        _, _, directions = torch.linalg.svd(centred)
        kept = directions[:2]
        expected += slow(centred @ kept.T @ kept + images.mean(dim=0), short)
    assert float(found.total) == pytest.approx(expected, rel=1e-9)


def test_its_loss_is_that_of_its_owner(models: dict[str, Path]) -> None:
    from transformers import SiglipModel

    ours, theirs = longclip.load(models["siglip"]), SiglipModel.from_pretrained(models["siglip"])
    ids, pixels = torch.randint(2, 200, (5, 64)), torch.rand(5, 3, 32, 32)
    config = replace(paper(), pcm=False).with_losses_of(logit_bias=ours.config.logit_bias)
    with torch.no_grad():
        images = F.normalize(ours.image_features(pixels), dim=-1)
        texts = F.normalize(ours.text_features(ids), dim=-1)
        scale, bias = ours.logit_scale.exp(), ours.logit_bias
        assert isinstance(bias, torch.Tensor)
        found = long_clip(BatchFeatures(images, scale, None, texts, bias), config, None)
        expected = theirs.eval()(input_ids=ids, pixel_values=pixels, return_loss=True).loss
    torch.testing.assert_close(found.total, expected)


def test_only_matrices_decay(models: dict[str, Path]) -> None:
    undecayed = {
        "siglip": {"embeddings.position_embedding.weight", "head.probe"},
        "timm": {"trunk.pos_embed", "trunk.cls_token"},
        "resnet": {"attnpool.positional_embedding"},
    }
    for kind, directory in models.items():
        model = longclip.load(directory)
        model.prepare_images()
        towers = Towers(model)
        decay = {
            id(p): group["weight_decay"]
            for group in make_optimizer(towers, paper()).param_groups
            for p in group["params"]
        }
        tower = model.vision_model.tower
        assert isinstance(tower, torch.nn.Module)
        large = {n for n, p in tower.named_parameters() if p.ndim > 1 and not decay[id(p)]}
        assert large == undecayed[kind]
        assert all(decay[id(p)] == 0 for p in tower.parameters() if p.ndim < 2)


def test_options_that_a_sigmoid_loss_does_not_know_are_refused(
    models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    config = tiny(models["siglip"], photos, tmp_path / "run", margin=best().margin)
    with pytest.raises(UsageError, match=r"--margin 0\.25 is of softmax .* --long-loss softmax"):
        train(config)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="--long-loss needs long texts"):
        TrainConfig(texts="short", long_loss="sigmoid")


@pytest.mark.parametrize("kind", KINDS)
def test_parts_and_recomputed_activations_change_nothing(
    kind: str, models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    config = tiny(models[kind], photos, tmp_path / "whole", steps=2)
    parts = replace(config, out=tmp_path / "parts", micro_batch=3, activation_checkpointing=True)
    train(config)
    train(parts)
    torch.testing.assert_close(losses(parts), losses(config), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_activation_checkpointing_keeps_fewer_activations(
    kind: str, models: dict[str, Path]
) -> None:
    model = longclip.load(models[kind])
    model.prepare_images()
    side = model.config.vision.image_size  # type: ignore[union-attr]

    def kept() -> int:
        sizes: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.image_features(torch.rand(8, 3, side, side))
        return sum(sizes)

    before = kept()
    model.activation_checkpointing()
    assert kept() < 0.8 * before
    model.activation_checkpointing(enabled=False)
    assert kept() == before


def test_low_rank_and_averaged(models: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    low = tiny(models["siglip"], photos, tmp_path / "low", steps=1, lora_rank=2)
    with pytest.raises(UsageError, match="adapt the text tower"):
        train(low)
    after = stored(train(replace(low, learn="text")).model)
    before = stored(models["siglip"])
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in after if of_images(n))

    config = tiny(models["resnet"], photos, tmp_path / "averaged", steps=2, wise_ft=1.0)
    found = longclip.load(train(config).model).state_dict()
    for name, value in longclip.stretch(longclip.load(models["resnet"])).state_dict().items():
        assert torch.equal(found[name], value), name


def test_several_processes_learn_as_one(
    models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    def runs(folder: Path) -> list[TrainConfig]:
        found = []
        for kind in KINDS:
            # With a large eps a step is as large as its gradient, and not as rounding's sign.
            config = tiny(models[kind], photos, folder / kind, steps=2, eps=1e-2)
            sharded = replace(
                config, out=folder / f"{kind}-sharded", parallel="fsdp", micro_batch=3
            )
            found += [config, sharded]
        return found

    alone, together = runs(tmp_path / "alone"), runs(tmp_path / "together")
    for config in alone:
        train(config)
    prelude = "from tests.helpers.openclip_library import open_clip\nopen_clip()\n"
    launch(2, [(config, False) for config in together], tmp_path / "jobs", prelude=prelude)
    for one, two in zip(alone, together, strict=True):
        torch.testing.assert_close(losses(two), losses(one), rtol=1e-4, atol=1e-4)
        mine, yours = stored(one.out / "model"), stored(two.out / "model")
        assert mine.keys() == yours.keys()
        for name, value in mine.items():
            torch.testing.assert_close(yours[name], value, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize(("kind", "extra"), [("siglip", "siglip"), ("timm", "openclip")])
@pytest.mark.parametrize("options", [{}, {"learn": "text"}, {"scratch": True}])
def test_without_the_library_of_its_images_a_run_reads_no_data(
    kind: str,
    extra: str,
    options: dict[str, Any],
    models: dict[str, Path],
    tmp_path: Path,
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "broken.jsonl").write_text("{")  # fails as soon as it is read
    missing = {"siglip": "transformers", "timm": "open_clip"}[kind]
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else found(name)
    )
    named = f'which is not installed: pip install "longclip[{extra}]"'
    config = tiny(models[kind], tmp_path / "broken.jsonl", tmp_path / "run")
    if options.pop("scratch", False):
        file = "config.json" if kind == "siglip" else "open_clip_config.json"
        options = {"scratch": str(models[kind] / file)}
    with pytest.raises(UsageError, match=re.escape(named)):
        train(replace(config, **options))
    words = [f"--{name}={value}" for name, value in options.items()]
    if "scratch" not in options:
        words += ["--model", str(models[kind])]
    broken = tmp_path / "broken.jsonl"
    outcome = run("train", *words, "--data", broken, "--evaluate", broken, "--out", config.out)
    assert outcome.code == 1
    assert named in outcome.err
    assert not config.out.exists()
