"""Objectives and recipes of one's own: from Python, and from an installed package."""

import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
import torch

from longclip.errors import UsageError
from longclip.evaluation.benchmarks import BENCHMARKS, catalogue
from longclip.losses import components_of_variance, info_nce, sigmoid_loss
from longclip.training import TrainConfig, train
from longclip.training.config import OBJECTIVE_NAMES
from longclip.training.objectives import OBJECTIVES, BatchFeatures, find_objective, long_clip
from longclip.training.recipes import beta, direct, find_recipe, himo, paper
from longclip.util import plugins
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.training import tiny_config


def two_parts(
    features: BatchFeatures, config: TrainConfig, rows: slice | None
) -> dict[str, torch.Tensor]:
    assert features.long is not None
    assert features.short is not None, "an objective gets all texts that there are"
    long = info_nce(features.images, features.long, features.logit_scale, rows=rows)
    short = info_nce(features.images, features.short, features.logit_scale, rows=rows)
    return {"details": long, "gist": short / 4}


def other(features: BatchFeatures, config: TrainConfig, rows: slice | None) -> torch.Tensor:
    return features.images.sum()


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_every_objective_of_ours_is_known_without_torch() -> None:
    assert tuple(OBJECTIVES) == OBJECTIVE_NAMES


def test_a_function_is_an_objective(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run", direct()), steps=2, dtype="float32")
    train(config, objective=two_parts)
    lines = metrics(config.out)
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss_details"] + line["loss_gist"], abs=1e-5)
    assert json.loads((config.out / "config.json").read_text())["objective"] == (
        "tests.training.test_objectives:two_parts"
    )
    # Gradient caching asks for the loss once, of features, and so does not change it.
    cached = replace(config, out=tmp_path / "cached", micro_batch=3)
    train(cached, objective=two_parts)
    assert [line["loss"] for line in metrics(cached.out)] == pytest.approx(
        [line["loss"] for line in lines], abs=1e-4
    )
    with pytest.raises(UsageError, match=r"--objective was \S*two_parts, now \S*other"):
        train(config, resume=True, objective=other)
    with pytest.raises(UsageError, match=r"--objective was \S*two_parts, now long-clip"):
        train(config, resume=True)
    with pytest.raises(UsageError, match=r"other gives Tensor; it must return"):
        train(replace(config, out=tmp_path / "other"), objective=other)


def features_of(images: int = 12, k: int = 2) -> BatchFeatures:
    generator = torch.Generator().manual_seed(3)

    def drawn(rows: int) -> torch.Tensor:
        features = torch.randn(rows, 6, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(features, dim=-1)

    return BatchFeatures(
        drawn(images), torch.tensor(9.0), drawn(images * k), drawn(images), torch.tensor(-3.0)
    )


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_himo_matches_the_components_of_long_texts_too(loss: str) -> None:
    batch = features_of()
    config = replace(himo(), long_loss=loss, text_pcm_weight=0.7, text_pcm_variance=0.6)
    assert batch.long is not None
    assert batch.logit_bias is not None
    components = components_of_variance(batch.long, 0.6)
    found = long_clip(batch, config, None)
    for name, texts in (("long", batch.long), ("components", components)):
        expected = (
            info_nce(batch.images, texts, batch.logit_scale, label_smoothing=0.1)
            if loss == "softmax"
            else sigmoid_loss(batch.images, texts, batch.logit_scale, batch.logit_bias)
        )
        torch.testing.assert_close(found.parts[name], expected)
    torch.testing.assert_close(found.total, found.parts["long"] + 0.7 * found.parts["components"])
    shares = [long_clip(batch, config, rows).total for rows in (slice(0, 5), slice(5, 12))]
    torch.testing.assert_close(shares[0] + shares[1], found.total)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_beta_has_many_positives_of_images_as_they_are(loss: str) -> None:
    batch = features_of(k=3)
    assert batch.short is not None
    config = replace(beta(), long_loss=loss, short_loss=loss, positives=3, short_weight=0.4)
    assert replace(config, objective="mine").reads_short
    found = long_clip(batch, config, None)
    logits = batch.logit_scale * batch.images @ batch.short.T
    own = torch.eye(12, dtype=torch.float64).repeat_interleave(3, dim=1)
    if loss == "softmax":
        spread = [
            0.9 * mask / mask.sum(1, keepdim=True) + 0.1 / mask.shape[1] for mask in (own, own.T)
        ]
        rows = [
            torch.nn.functional.cross_entropy(z, p)
            for z, p in zip((logits, logits.T), spread, strict=True)
        ]
        expected = sum(rows) / 2
    else:
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            logits + batch.logit_bias, own, reduction="sum"
        ) / len(batch.short)
    torch.testing.assert_close(found.parts["short"], expected)
    torch.testing.assert_close(found.total, found.parts["long"] + 0.4 * found.parts["short"])


def test_a_long_text_is_held_against_all_its_parts() -> None:
    batch = features_of()
    assert batch.long is not None
    assert batch.short is not None
    config = replace(paper(), pcm_components=2, text_pcm_weight=1.0, monotonicity_weight=0.5)
    found = long_clip(batch, config, None)
    parts = [components_of_variance(batch.long, 0.85), batch.short[::2], batch.short[1::2]]
    excess = [
        (9 * ((part - batch.long) * batch.images).sum(dim=1)).clamp(min=0).mean() for part in parts
    ]
    torch.testing.assert_close(found.parts["monotonicity"], torch.stack(excess).mean())
    rest = found.parts["long"] + found.parts["short"] + found.parts["components"]
    torch.testing.assert_close(found.total, rest + 0.5 * found.parts["monotonicity"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"texts": "short", "text_pcm_weight": 1.0}, "--text-pcm-weight is of long texts"),
        ({"monotonicity_weight": 1.0}, "--short-weight or --text-pcm-weight"),
        ({"text_pcm_weight": 1.0, "pcm_groups": 5}, "--pcm-groups 5 does not divide"),
        ({"pcm": True, "short_weight": 1.0}, "without --pcm; the weight with that is --pcm-weight"),
        ({"texts": "short", "short_weight": 1.0}, "--texts short has no other loss"),
        ({"positives": 2}, "--short-weight"),
        ({"short_loss": "sigmoid"}, "--short-weight"),
        ({"texts": "short", "long_texts": "shuffled"}, "--long-texts shuffled needs --texts long"),
        ({"pcm": True, "monotonicity_weight": 1.0, "long_texts": "subsampled"}, "take whole"),
        ({"text_pcm_variance": 1.0}, "--text-pcm-variance"),
    ],
)
def test_terms_without_their_texts_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        replace(direct(), **change)  # type: ignore[arg-type]


def offer(monkeypatch: pytest.MonkeyPatch, group: str, **offered: object) -> None:
    """Let a package offer these."""
    module = ModuleType("plugin")
    vars(module).update(offered)
    monkeypatch.setitem(sys.modules, "plugin", module)
    points = [EntryPoint(name, f"plugin:{name}", group) for name in (*offered, "lost")]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )


def test_a_package_offers_an_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "longclip.objectives", mine=two_parts)
    assert find_objective("mine") is two_parts
    with pytest.raises(UsageError, match=r"lost of the group .* comes from plugin:lost, which "):
        find_objective("lost")
    with pytest.raises(UsageError, match=r"--objective gone is none of long-clip, lost, mine"):
        find_objective("gone")


def test_a_package_offers_a_recipe(
    monkeypatch: pytest.MonkeyPatch,
    run: Run,  # noqa: F811
    photos: Path,
    tmp_path: Path,
) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), recipe="custom", steps=1)
    offer(monkeypatch, "longclip.recipes", mine=lambda: config, wrong=lambda: 5)
    assert find_recipe("mine").recipe == "mine"
    with pytest.raises(UsageError, match=r"wrong of plugin:wrong gives int, must be a longclip"):
        find_recipe("wrong")
    outcome = run("train", "--recipe", "mine", "--objective", "gone")
    assert outcome.code == 1
    assert "--objective gone is none of long-clip" in outcome.err
    outcome = run("train", "--recipe", "mine")
    assert outcome.code == 0, outcome.err
    assert json.loads((config.out / "config.json").read_text())["recipe"] == "mine"
    outcome = run("train", "--recipe", "pie")
    assert outcome.code == 2
    assert (
        "clip, direct, paper, reference, debias, himo, beta, best, lost, mine, wrong"
        in " ".join(outcome.err.replace("│", " ").split())
    )


def test_a_package_offers_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "longclip.benchmarks", mine=BENCHMARKS["urban1k"], wrong=5)
    with pytest.warns(UserWarning, match=r"wrong of plugin:wrong is int|lost of the group"):
        [found] = catalogue._offered()
    assert found == replace(BENCHMARKS["urban1k"], name="mine")
