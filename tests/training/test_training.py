"""What recipes do to a model, on a run small enough to check by hand."""

import json
import math
import os
import re
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import longclip
from longclip.checkpoints.hub import read_card
from longclip.data import open_collection
from longclip.data.open import open_training_data
from longclip.errors import DataError, TrainingError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.losses import long_clip_loss
from longclip.model.convert import convert
from longclip.model.stretch import stretch_table
from longclip.spec import EOT
from longclip.training import RECIPES, TrainConfig, train
from longclip.training.data import (
    PAD,
    Batch,
    Pairs,
    PixelStore,
    ReadOptions,
    batches,
    crop,
    read_options,
)
from longclip.training.forward import Towers
from longclip.training.optimizer import make_optimizer
from longclip.training.plan import make_plan, plan_of
from longclip.training.recipes import clip, direct, paper
from longclip.training.run.model import initial_model
from longclip.training.schedule import peak_lr, set_lr
from tests.helpers.training import tiny_config, write_photos


def positions(model: longclip.CLIP) -> torch.Tensor:
    return model.text_model.embeddings.position_embedding.weight.detach()


def test_paper_keeps_the_first_rows_bit_for_bit_and_trains_the_rest(
    photos: Path, tmp_path: Path
) -> None:
    config = tiny_config(photos, tmp_path / "run")
    before = positions(initial_model(replace(config, stretch="none")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(config)
    after = longclip.load(tmp_path / "run" / "model")
    assert after.context_length == 248
    assert torch.equal(positions(after)[:20], before[:20])
    moved = (positions(after) - stretch_table(before, 248)).abs().amax(dim=1)
    read = longclip.tokenize(open_collection(photos).captions(0).long[0]).shape[1]
    assert (moved[20 : read - 5] > 0).all()
    assert (moved[-20:] == 0).all(), "rows no text reaches have no gradient"


def test_direct_trains_all_rows_with_long_texts_only(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run", direct())
    train(config)
    stretched = positions(initial_model(config))
    after = positions(longclip.load(tmp_path / "run" / "model"))
    assert (after[0] != stretched[0]).any()
    [line, *_] = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line).keys() >= {"loss_long", "data_wait_seconds"}
    assert "loss_short" not in json.loads(line)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_learns_its_few_pairs(recipe: str, photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / recipe, RECIPES[recipe]())
    longer = replace(config, steps=150, lr=1e-2, log_every=10, checkpoint_every=150)
    train(replace(longer, logit_scale=10.0))
    lines = (tmp_path / recipe / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[-1] < 0.85 * losses[0]


def test_the_resolved_configuration_is_written(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    train(config)
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["recipe"] == "paper"
    assert written["batch_size"] == 8
    assert written["data"] == [str(photos)]


def test_a_models_card_says_how_it_was_trained(photos: Path, tmp_path: Path) -> None:
    result = train(tiny_config(photos, tmp_path / "harbour"))
    licence, text = read_card(result.model)
    assert licence is None
    assert text.startswith("# harbour")
    assert "| recipe | paper |" in text
    assert "| data | photos.jsonl |" in text
    assert "- `pcm`: True" in text
    assert str(tmp_path) not in text
    assert ModelCard.load(result.model / "README.md").data.pipeline_tag == (
        "zero-shot-image-classification"
    )
    # What was trained is still told after a conversion.
    convert(result.model, tmp_path / "there", "openclip")
    assert "| recipe | paper |" in (tmp_path / "there" / "README.md").read_text()


def test_a_models_card_has_what_was_measured_where_it_comes_from_and_how_it_is_loaded(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalls = iter([0.25, 0.75])
    config = replace(
        tiny_config(photos, tmp_path / "run"), scratch="", model="nano", steps=1, evaluate=("x",)
    )
    result = train(config, evaluate=lambda model: {"x long T2I R@1": next(recalls)})
    content = (result.model / "README.md").read_text()
    licence, text = read_card(result.model)
    assert licence == "mit", "that of nano"
    assert "| x long T2I R@1 | 25.0 | 75.0 |" in text
    monkeypatch.chdir(result.model)
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", content, re.DOTALL):
        exec(block, found)
        assert found["model"].text_model.embeddings.position_embedding.weight.shape[0] == 248
    assert "input_ids" in found["processor"](text=["a wall"])


def test_only_matrices_decay_and_text_and_positions_have_their_own_rates() -> None:
    config = replace(paper(), scratch="nano", position_lr_scale=3.0, text_lr_scale=0.5, lr=1e-4)
    towers = Towers(initial_model(config))
    names = {id(p): name.removeprefix("clip.") for name, p in towers.named_parameters()}
    settings = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in make_optimizer(towers, config).param_groups
        for p in group["params"]
    }
    assert settings.keys() == set(names.values())
    undecayed = (
        "bias",
        "norm",
        "logit_scale",
        "logit_bias",
        "embeddings.token",
        "embeddings.position",
        "class_",
    )
    for name, (lr, decay) in settings.items():
        assert decay == (0.0 if any(part in name for part in undecayed) else 0.01), name
        if name == "text_model.embeddings.position_embedding.weight":
            assert lr == pytest.approx(3e-4)
        else:
            assert lr == pytest.approx(5e-5 if name.startswith("text_model.") else 1e-4), name
    assert settings["vision_model.embeddings.patch_embedding.weight"][1] == 0.01


def test_schedule_is_linear_then_cosine() -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW([{"params": model.parameters(), "lr": 2.0, "peak_lr": 2.0}])
    rates = []
    for step in range(100):
        set_lr(optimizer, step, 100, 10)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(1 + math.cos(math.pi * 89 / 90))


def test_the_rate_follows_the_batch_unless_given() -> None:
    assert peak_lr(paper()) == pytest.approx(1e-4)
    assert peak_lr(replace(paper(), batch_size=256)) == pytest.approx(2.5e-5)
    assert peak_lr(replace(paper(), lr=3e-6)) == 3e-6


def test_batches_are_the_same_with_and_without_workers(photos: Path) -> None:
    collection = open_collection(photos)
    plan = make_plan(items=20, batch_size=6, epochs=2, steps=0, seed=3)
    streams = []
    for workers, cache in ((0, 0.0), (2, 1.0)):
        store = PixelStore(collection, Preprocess(image_size=32), cache)
        reading = ReadOptions(77, 248, crop_scale=0.7, seed=3, pad_prefix=3)
        pairs = Pairs(store, reading)
        streams.append(list(batches(pairs, plan, first_step=0, workers=workers)))
    for plain, parallel in zip(*streams, strict=True):
        for name in ("pixels", "short", "plain", "long", "crops"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(parallel, name))


def test_a_batch_is_made_while_the_one_before_it_is_used(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, concatenate = threading.Semaphore(0), Batch.concatenate

    def counted(parts: list[Batch]) -> Batch:
        made.release()
        return concatenate(parts)

    monkeypatch.setattr(Batch, "concatenate", counted)
    store = PixelStore(open_collection(photos), Preprocess(image_size=32), 1.0)
    plan = make_plan(items=20, batch_size=5, epochs=1, steps=0, seed=3)
    stream = batches(Pairs(store, ReadOptions(77, 248)), plan, first_step=0, workers=1)
    next(stream)
    assert all(made.acquire(timeout=20) for _ in range(2))
    assert not made.acquire(timeout=0.2), "and no more than one: they are large"
    assert len(list(stream)) == 3


def test_crop_takes_the_part_it_says() -> None:
    ramp = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 3, 64, 64).contiguous()
    whole = crop(ramp, torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(whole, ramp)
    left = crop(ramp, torch.tensor([[0.5, -0.5, 0.0]]))
    expected = (torch.arange(64) + 0.5) / 2 - 0.5
    torch.testing.assert_close(left[0, 0, 0, 1:], expected[1:])


def test_unreadable_pictures_are_left_out_and_listed(tmp_path: Path) -> None:
    data = write_photos(tmp_path / "photos", 20)
    (data.parent / "3.png").write_bytes(b"not a picture")
    config = replace(tiny_config(data, tmp_path / "run"), steps=6, max_bad_fraction=0.1)
    result = train(config)
    assert len(result.bad) == 1
    assert "3.png" in result.bad[0]
    for i in range(5):
        (data.parent / f"{i}.png").write_bytes(b"not a picture")
    with pytest.raises(TrainingError, match="--max-bad-fraction"):
        train(replace(config, out=tmp_path / "second"))
    for i in range(5):
        (data.parent / f"{i}.png").unlink()
    with pytest.raises(DataError, match=r"5 of 20 pictures are not there.*--images"):
        train(replace(config, out=tmp_path / "third"))
    assert not (tmp_path / "third").exists()


def test_a_loss_that_is_no_number_stops_the_run(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), lr=1e9, steps=50)
    with pytest.raises(TrainingError, match="lower --lr"):
        train(config)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 1}, "--batch-size"),
        ({"crop_scale": 0.0}, "--crop-scale"),
        ({"epochs": 0.0, "steps": 0}, "--steps or --epochs"),
        ({"texts": "short"}, "--texts long"),
        ({"batch_size": 21}, "smaller --batch-size"),
        ({"pcm_components": 0}, "--pcm-components"),
        ({"logit_scale": -1.0}, "--logit-scale"),
        ({"lora_rank": 99}, "low rank"),
        ({"beta2": 1.5}, "beta"),
    ],
)
def test_impossible_runs_are_refused_and_leave_nothing(
    change: dict[str, object], says: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        train(replace(tiny_config(photos, tmp_path / "run"), **change))  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_presets_differ_only_in_what_makes_them_recipes() -> None:
    assert clip().texts == "short"
    assert replace(paper(), recipe="direct", stretch="linear", pcm=False) == direct()
    assert TrainConfig().batch_size == 1024


def test_columns_with_unusual_names(photos: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in photos.read_text().splitlines()]
    renamed = photos.parent / "renamed.jsonl"
    lines = ({"foto": row["image"], "tekst": row["long"]} for row in rows)
    renamed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = tiny_config(renamed, tmp_path / "run")
    with pytest.raises(ValueError, match="--image-column"):
        train(config)
    named = replace(config, image_column="foto", long_column="tekst", steps=2)
    assert train(named).steps == 2


def test_rows_without_text_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in photos.read_text().splitlines()]
    rows[7] |= {"short": [], "long": ""}
    some = photos.parent / "some.jsonl"
    some.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(UserWarning, match=r"1 of 20 rows .*row 7"):
        result = train(tiny_config(some, tmp_path / "run"))
    assert result.bad == ()


def test_one_tower_alone_is_refused(photos: Path, tmp_path: Path) -> None:
    convert("nano", tmp_path / "text", "hf-text")
    config = replace(
        tiny_config(photos, tmp_path / "run"), scratch="", model=str(tmp_path / "text")
    )
    with pytest.raises(ValueError, match=r"text is one tower of a CLIP alone; .* takes both"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_pads_stand_between_the_begin_and_the_text(photos: Path) -> None:
    store = PixelStore(open_collection(photos), Preprocess(image_size=32), 1.0)
    keys = [(epoch, index) for epoch in range(20) for index in range(20)]
    batch = Pairs(store, ReadOptions(77, 11, pad_prefix=6))[keys]
    counts = (batch.short == PAD).sum(axis=1)
    assert set(counts) == set(range(7)), "any number up to the prefix"
    for padded, plain, count in zip(batch.short, batch.plain, counts, strict=True):
        text = plain[: list(plain).index(EOT) + 1]
        assert list(padded[: len(text) + count]) == [text[0], *[PAD] * count, *text[1:]]
        assert (padded[len(text) + count :] == EOT).all()
    tight = Pairs(store, ReadOptions(77, 7, pad_prefix=6))[keys]
    ends = (tight.short == EOT).argmax(axis=1)
    assert ends.max() == 6, "no text is pushed over the model's length"
    assert tight.short.shape[1] == 7


LEARNS = {
    "image": ("vision_model.", "visual_projection.", "logit_scale"),
    "text": ("text_model.", "text_projection.", "logit_scale"),
    "positions": ("text_model.embeddings.position_embedding.weight",),
}


@pytest.mark.parametrize("learn", list(LEARNS))
def test_only_what_is_to_learn_changes(learn: str, photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), learn=learn)
    before = initial_model(config).state_dict()
    after = longclip.load(train(config).model).state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith(LEARNS[learn]) for name in changed)
    expected = {name for name in before if name.startswith(LEARNS[learn])}
    # A softmax does not see its keys' bias, whose gradient may be nothing but zero.
    assert {name for name in expected - changed if "k_proj.bias" not in name} == set()


def test_a_frozen_temperature_is_not_clamped(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=1, logit_scale=150.0)
    frozen = replace(config, out=tmp_path / "frozen", learn="positions")
    scales = [longclip.load(train(c).model).logit_scale.exp().item() for c in (config, frozen)]
    assert scales == pytest.approx([100, 150])


def test_low_rank_training_leaves_a_stock_clip(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), lora_rank=2, lora_alpha=4.0)
    before = initial_model(config)
    after = longclip.load(train(config).model)
    assert after.state_dict().keys() == before.state_dict().keys()
    name = "text_model.encoder.layers.0.mlp.fc1"
    changed = after.get_parameter(f"{name}.weight") - before.get_parameter(f"{name}.weight")
    assert torch.linalg.matrix_rank(changed, tol=1e-6) == 2
    assert torch.equal(after.get_parameter(f"{name}.bias"), before.get_parameter(f"{name}.bias"))
    assert (positions(after)[20:] != positions(before)[20:]).any()


def test_wise_ft_ends_between_the_start_and_what_was_learned(photos: Path, tmp_path: Path) -> None:
    plain = tiny_config(photos, tmp_path / "plain")
    start = initial_model(plain).state_dict()
    tuned = longclip.load(train(plain).model).state_dict()
    between = longclip.load(train(replace(plain, out=tmp_path / "wise", wise_ft=0.25)).model)
    for name, value in between.state_dict().items():
        torch.testing.assert_close(value, 0.75 * tuned[name] + 0.25 * start[name])


def test_a_frozen_teacher_holds_back_short_texts(photos: Path, tmp_path: Path) -> None:
    """With nothing else to learn from, the distilled loss keeps a model where it was."""
    free = replace(tiny_config(photos, tmp_path / "free"), steps=30, stretch="none", pcm=False)
    config = replace(free, context_length=77, learn="text", crop_scale=0.9)
    held = replace(config, out=tmp_path / "held", distill_weight=50.0)
    start, texts = initial_model(free), ["a red wall", "something blue", "a green wall"]
    images = torch.nn.functional.normalize(torch.randn(5, 16), dim=-1)

    def drift(model: longclip.CLIP) -> float:
        change = model.encode_text(texts, normalize=True) - start.encode_text(texts, normalize=True)
        return float((change @ images.T).abs().mean())

    drifts = [drift(longclip.load(train(c).model)) for c in (config, held)]
    assert drifts[1] < 0.5 * drifts[0]


def test_texts_are_the_runs_where_a_store_is_handed_over(photos: Path, tmp_path: Path) -> None:
    """Pictures decoded for one run serve another with other texts."""
    store = PixelStore(open_training_data([photos]), Preprocess(image_size=32), 1.0)
    config = replace(tiny_config(photos, tmp_path / "given"), steps=1)
    other = replace(config, out=tmp_path / "other", short_texts="without-first", positives=2)
    losses = []
    for run in (config, other, replace(other, out=tmp_path / "own")):
        train(run, store=None if run.out.name == "own" else store)
        line = json.loads((run.out / "metrics.jsonl").read_text())
        losses.append((line["loss_long"], line["loss_short"]))
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]
    assert losses[1] == losses[2]


def test_more_workers_than_processors_are_nothing_to_warn_of(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    config = replace(tiny_config(photos, tmp_path / "run"), steps=1, workers=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(config)
    assert [str(each.message) for each in told if "worker" in str(each.message)] == []


def test_a_mixture_decides_weights_and_texts(photos: Path, tmp_path: Path) -> None:
    mixture = tmp_path / "mixture.toml"
    mixture.write_text(
        f'[[source]]\ndata = "{photos}"\nweight = 3\n'
        f'[[source]]\ndata = "{photos}"\nweight = 1\nshort = "without-first"\n'
    )
    config = replace(tiny_config(mixture, tmp_path / "run"), steps=10)
    model = initial_model(config)
    store = PixelStore(open_training_data([mixture]), model.preprocess, 1.0)
    plan = plan_of(config, store.collection)
    sources = [index // 20 for keys in plan.batches(0) for _, index in keys]
    assert sources.count(1) == pytest.approx(20, abs=1)
    [first, second] = (
        Pairs(store, read_options(config, model))[[(0, index)]].short.tolist() for index in (3, 23)
    )
    given = [
        longclip.tokenize(text)[0].tolist() for text in open_collection(photos).captions(3).short
    ]
    assert first[0] in given
    assert second[0] not in given
    assert train(replace(config, steps=2)).steps == 2


def test_what_is_measured_while_training_is_logged(photos: Path, tmp_path: Path) -> None:
    seen: list[bool] = []

    def evaluate(model: longclip.CLIP) -> dict[str, float]:
        seen.append(torch.is_grad_enabled())
        return {"photos long T2I R@1": float(len(seen))}

    config = replace(
        tiny_config(photos, tmp_path / "run"), evaluate=(str(photos),), evaluate_every=2, steps=4
    )
    train(config, evaluate=evaluate)
    lines = (config.out / "metrics.jsonl").read_text().splitlines()
    found = [(v["step"], v["evaluation"]) for v in map(json.loads, lines) if "evaluation" in v]
    assert [step for step, _ in found] == [0, 2, 4, 4]
    assert found[-1][1] == {"photos long T2I R@1": 4.0}
    with pytest.raises(ValueError, match="periodic_evaluation"):
        train(replace(config, out=tmp_path / "other"))


def test_no_more_pairs_than_a_micro_batch_are_in_the_towers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, tokens = [], []
    image_features, text_features = longclip.CLIP.image_features, longclip.CLIP.text_features

    def note_pictures(self: longclip.CLIP, pixels: torch.Tensor) -> torch.Tensor:
        pictures.append(len(pixels))
        return image_features(self, pixels)

    def note_tokens(self: longclip.CLIP, ids: torch.Tensor) -> torch.Tensor:
        tokens.append(((ids == EOT).int().argmax(dim=1) + 1).tolist())
        return text_features(self, ids)

    monkeypatch.setattr(longclip.CLIP, "image_features", note_pictures)
    monkeypatch.setattr(longclip.CLIP, "text_features", note_tokens)
    config = replace(tiny_config(photos, tmp_path / "run"), micro_batch=3, steps=1)
    train(config)
    assert max(pictures) == 3
    # Once to look, once to learn; the part whose graph was kept only once.
    assert sum(pictures) in (2 * 8, 2 * 8 - pictures[0])
    patches = 2 * 2 + 1
    assert all(sum(lengths) <= 3 * patches or len(lengths) == 1 for lengths in tokens)


def test_the_engines_loss_is_the_papers(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=1, dtype="float32", device="cpu")
    model = initial_model(config)
    store = PixelStore(open_training_data([photos]), model.preprocess, 1.0)
    pairs = Pairs(store, read_options(config, model))
    batch = next(batches(pairs, plan_of(config, store.collection), first_step=0, workers=0))
    pixels = model.preprocess.normalize(torch.from_numpy(batch.pixels))
    with torch.no_grad():
        loss = long_clip_loss(
            model.image_features(pixels),
            model.text_features(torch.from_numpy(batch.long)),
            model.text_features(torch.from_numpy(batch.short)),
            model.logit_scale.exp(),
            components=config.pcm_components,
        )
    train(config)
    line = json.loads((config.out / "metrics.jsonl").read_text())
    assert line["loss"] == pytest.approx(float(loss.total), rel=1e-5)
    assert line["loss_short"] == pytest.approx(float(loss.parts["short"]), rel=1e-5)


def test_a_margin_is_between_long_texts_where_there_are_some(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "plain"), steps=1)
    pushed = replace(config, out=tmp_path / "pushed", margin=0.5)
    short = replace(clip(), **{n: getattr(config, n) for n in ("scratch", "data", "batch_size")})
    short = replace(short, out=tmp_path / "short", steps=1, workers=0, log_every=1)
    lines = []
    for run in (config, pushed, short, replace(short, out=tmp_path / "short-pushed", margin=0.5)):
        train(run)
        lines.append(json.loads((run.out / "metrics.jsonl").read_text()))
    assert lines[1]["loss_long"] > lines[0]["loss_long"]
    assert lines[1]["loss_short"] == lines[0]["loss_short"]
    assert lines[3]["loss_short"] > lines[2]["loss_short"]


@pytest.mark.slow
def test_compiled_layers_learn_the_same(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "plain"), dtype="float32", device="cpu")
    compiled = replace(config, out=tmp_path / "compiled", compile=True)
    found = []
    for run in (config, compiled):
        train(run)
        lines = (run.out / "metrics.jsonl").read_text().splitlines()
        found.append([json.loads(line)["loss"] for line in lines])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_what_was_measured_of_a_step_is_told(photos: Path, tmp_path: Path) -> None:
    train(tiny_config(photos, tmp_path / "run"))
    for line in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()):
        assert line["total_steps"] == 5
        assert line["loss"] == pytest.approx(line["loss_long"] + line["loss_short"])
        assert line["grad_norm"] > 0
        assert 0 < line["update_norm"] < 1
        assert line["pairs_per_second"] > 0
        assert line["memory_gb"] > 0.01


def test_a_step_of_bad_pictures_alone_is_a_line_too(tmp_path: Path) -> None:
    data = write_photos(tmp_path / "photos", 8)
    for i in range(8):
        (data.parent / f"{i}.png").write_bytes(b"not a picture")
    config = replace(tiny_config(data, tmp_path / "run"), max_bad_fraction=1.0, steps=2)
    result = train(config)
    assert len(result.bad) == 8
    lines = [json.loads(text) for text in (config.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["bad"] for line in lines] == [8, 8]
    assert all("loss" not in line for line in lines)


def test_a_gradient_is_cut_to_its_limit(photos: Path, tmp_path: Path) -> None:
    """Seen through plain momentum: AdamW's first moment after one step is a tenth of it."""
    config = replace(tiny_config(photos, tmp_path / "run"), steps=1, clip_gradient=0.5)
    train(config)
    [folder] = (config.out / "checkpoints").glob("step-*")
    [file] = folder.glob("*.safetensors")
    moments = [v for name, v in load_file(file).items() if name.endswith("exp_avg")]
    assert torch.cat([m.flatten() for m in moments]).norm() == pytest.approx(0.05, rel=1e-3)


def test_a_recipe_that_is_not_there_is_named() -> None:
    assert "papr" not in RECIPES
    with pytest.raises(UsageError, match="no recipe 'papr' in RECIPES, only clip, direct, paper"):
        RECIPES["papr"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"texts": "short", "pcm": False}, r"says long = …: --long-texts shuffled needs --texts"),
        ({"monotonicity_weight": 1.0}, "--long-texts shuffled leaves out; take whole"),
    ],
)
def test_what_a_mixture_says_of_long_texts_goes_with_the_run(
    change: dict[str, Any], says: str, photos: Path, tmp_path: Path
) -> None:
    mixture = tmp_path / "mix.toml"
    mixture.write_text(f'[[source]]\ndata = "{photos}"\nlong = "shuffled"')
    config = replace(tiny_config(photos, tmp_path / "run"), data=(str(mixture),))
    with pytest.raises(UsageError, match=says):
        train(replace(config, **change))
    assert train(config).steps == 5
