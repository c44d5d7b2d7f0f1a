"""Make the bundled model from drawn scenes, and pack it.

python scripts/make_nano.py            # half an hour on two cores
python scripts/make_nano.py --resume   # leave out the stages that are done
"""

import argparse
import math
import multiprocessing
import random
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import longclip
from longclip import scenes
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP
from longclip.model.architectures import architecture
from longclip.scenes.graph import SIDES, Scene
from longclip.text.tokenizer import clip_tokenizer
from longclip.training import train
from longclip.training.recipes import clip
from longclip.util.terminal import OnProgress, progress_display

CARD = Path(__file__).with_name("nano_card.md")
NANO = Path(__file__).parents[1] / "src" / "longclip" / "models" / "nano"

SCENES = 60_000
PREPROCESS = Preprocess(image_size=96)
SIZES = (96, 128)
"""Pixels that scenes are drawn with; whoever uses the model draws them in either size."""

SEEING_STEPS, SEEING_BATCH = 1800, 128
WORDS_STEPS, WORDS_BATCH = 600, 1024
CAPTIONS_STEPS, CAPTIONS_BATCH = 1200, 512
TOGETHER_STEPS, TOGETHER_BATCH = 600, 256
LR, TOGETHER_LR = 1e-3, 2e-4


def see(pixels: NDArray[np.uint8], out: Path, on_progress: OnProgress) -> None:
    """Teach the image tower to tell everything in a scene, by linear classifiers.

    From captions alone so small a tower learns colours and weather and then stays where it is for
    hours. What is where in a scene is known, and a classifier for each place makes it see that in
    minutes.
    """
    model = _new_model()
    found = [_visible(scenes.make_scene("train", index)) for index in range(SCENES)]
    classes = {name: sorted({one[name] for one in found}) for name in found[0]}
    numbers = {name: {value: i for i, value in enumerate(kinds)} for name, kinds in classes.items()}
    targets = torch.tensor([[numbers[name][one[name]] for name in classes] for one in found])
    heads = nn.Linear(model.embedding_dim, sum(map(len, classes.values())))
    scale = nn.Parameter(torch.tensor(math.log(12.0)))
    vision = [p for name, p in model.named_parameters() if "vision" in name or "visual" in name]
    optimizer = _Optimizer([*vision, *heads.parameters(), scale], SEEING_STEPS)
    for step, rows in enumerate(_passes(SEEING_STEPS, SEEING_BATCH)):
        images = F.normalize(_image_features(model, pixels[rows.numpy()]), dim=-1)
        # The cosines of an embedding are all that CLIP uses of it, so they must be enough.
        logits = scale.exp() * images @ F.normalize(heads.weight, dim=-1).T + heads.bias
        parts = logits.split([len(kinds) for kinds in classes.values()], dim=1)
        loss = torch.stack(
            [F.cross_entropy(part, targets[rows, i]) for i, part in enumerate(parts)]
        ).mean()
        optimizer.step(loss)
        on_progress("the image tower learns to see", step + 1, SEEING_STEPS, f"loss {loss:.3f}")
    longclip.save(model, out, dtype=torch.float32)


def read(model: CLIP, pixels: NDArray[np.uint8], out: Path, on_progress: OnProgress) -> None:
    """Teach the text tower the words for that: attributes first, then short captions too.

    The image tower rests (Zhai et al., LiT, 2022), so its embeddings are computed once. A batch's
    images with the attribute that a text names are all right answers: which those are is known
    too, and was the other thing that a small tower never found out from captions alone.
    """
    with torch.no_grad():
        images = torch.cat(
            [
                F.normalize(_image_features(model, pixels[i : i + 500]), dim=-1)
                for i in range(0, SCENES, 500)
            ]
        )
    # Numbered texts in tokens: of attributes by wording, of captions by scene.
    attributes: dict[tuple[str, ...], int] = {}
    of_scene, captions = [], []
    for index in range(SCENES):
        scene = scenes.make_scene("train", index)
        there = scenes.attributes(scene)
        of_scene.append([attributes.setdefault(one, len(attributes)) for one in there])
        captions.append(clip_tokenizer().encode(list(scenes.short_captions(scene))))
    true = torch.zeros(SCENES, len(attributes), dtype=torch.bool)
    for index, there_numbers in enumerate(of_scene):
        true[index, there_numbers] = True
    wordings = [clip_tokenizer().encode(list(texts)) for texts in attributes]

    dice = random.Random(0)
    text = [p for name, p in model.named_parameters() if "vis" not in name]
    optimizer = _Optimizer(text, WORDS_STEPS + CAPTIONS_STEPS)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(20.0))

    def words(rows: Tensor, count: int) -> Tensor:
        """Return the loss of some attributes of the first images, against all of them."""
        chosen = sorted({dice.choice(of_scene[row]) for row in rows[:count].tolist()})
        texts = _text_features(model, [dice.choice(wordings[number]) for number in chosen])
        logits, right = model.logit_scale.exp() * texts @ images[rows].T, true[rows][:, chosen].T
        return _cross_entropy(logits, right) + _cross_entropy(logits.T, right.T)

    for step, rows in enumerate(_passes(WORDS_STEPS, WORDS_BATCH)):
        loss = words(rows, 384)
        optimizer.step(loss)
        on_progress("the text tower learns words", step + 1, WORDS_STEPS, f"loss {loss:.3f}")
    for step, rows in enumerate(_passes(CAPTIONS_STEPS, CAPTIONS_BATCH)):
        texts = _text_features(model, [dice.choice(captions[row]) for row in rows.tolist()])
        logits, own = model.logit_scale.exp() * texts @ images[rows].T, torch.arange(len(rows))
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        # Without words beside them, captions are soon read for their kinds of things alone.
        optimizer.step(loss + words(rows, 192) / 4)
        on_progress("the text tower reads captions", step + 1, CAPTIONS_STEPS, f"loss {loss:.3f}")
    longclip.save(model, out, dtype=torch.float32)


def together(start: Path, out: Path, resume: bool, on_progress: OnProgress) -> None:
    """Train both towers on short captions by the `clip` recipe."""
    config = replace(
        clip(),
        model=str(start),
        data=("scenes",),
        out=out,
        steps=TOGETHER_STEPS,
        batch_size=TOGETHER_BATCH,
        lr=TOGETHER_LR,
        crop_scale=1.0,  # captions say where things are
    )
    train(
        config,
        resume=resume and (out / "config.json").exists(),
        on_step=lambda n, of, note: on_progress("both learn from captions", n, of, note),
    )


def pack(model: Path, destination: Path) -> None:
    """Write float16 weights, with the embeddings of tokens that never occurred set to zero.

    Those rows hold nothing but their random initial values. At zero a word that scenes do not know
    says nothing instead of something random, and the file compresses to a third.
    """
    nano = longclip.load(model)
    seen = torch.zeros(nano.config.text.vocab_size, dtype=torch.bool)
    for index in range(SCENES):
        scene = scenes.make_scene("train", index)
        words = [text for wordings in scenes.attributes(scene) for text in wordings]
        for ids in clip_tokenizer().encode([*words, *scenes.short_captions(scene)]):
            seen[ids] = True
    with torch.no_grad():
        nano.text_model.embeddings.token_embedding.weight[~seen] = 0
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        whole = Path(work) / "nano"
        longclip.save(nano, whole, dtype=torch.float16)
        # Its tokenizer is CLIP's, which the package has; whoever saves the model gets the files.
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            shutil.copy(whole / name, destination / name)
    shutil.copy(CARD, destination / "README.md")
    print(f"{destination}: {int(seen.sum())} of {len(seen)} tokens known")


def draw_all(on_progress: OnProgress) -> NDArray[np.uint8]:
    """Return all training scenes at model size, uint8 [SCENES, 3, H, W]."""
    pixels = np.empty((SCENES, 3, PREPROCESS.image_size, PREPROCESS.image_size), np.uint8)
    with multiprocessing.Pool() as pool:
        for index, drawn in enumerate(pool.imap(_draw, range(SCENES), chunksize=200)):
            pixels[index] = drawn
            on_progress("drawing scenes", index + 1, SCENES, "")
    return pixels


def _draw(index: int) -> NDArray[np.uint8]:
    picture = scenes.draw(scenes.make_scene("train", index), SIZES[index % len(SIZES)])
    return PREPROCESS.pixels(picture).transpose(2, 0, 1)


def _visible(scene: Scene) -> dict[str, str]:
    """Return everything that can be seen, by what it is of and where; "None" for nothing."""
    names = ("setting", "time_of_day", "weather", "backdrop")
    found = {name: str(getattr(scene, name)) for name in names}
    places: dict[str, object] = {
        "landmark": scene.landmark,
        "trees": scene.trees,
        "house": scene.house,
        "sky": scene.flyer,
    }
    for row in ("middle", "front"):
        at = {something.side: something for something in getattr(scene, row)}
        places |= {f"{row} {side}": at.get(side) for side in SIDES}
    names = ("kind", "side", "count", "wall", "roof", "door", "colour", "accent", "coat", "hat")
    for place, thing in places.items():
        for name in (*names, "item", "item_colour"):
            found[f"{place} {name}"] = str(getattr(thing, name, None))
    return found


def _new_model() -> CLIP:
    torch.manual_seed(0)
    return CLIP(architecture("nano"), PREPROCESS)


def _image_features(model: CLIP, pixels: NDArray[np.uint8]) -> Tensor:
    return model.image_features(model.preprocess.normalize(torch.from_numpy(pixels)))


def _text_features(model: CLIP, texts: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, texts))
    pad = model.pad_token_id
    ids = torch.tensor([[*text, *[pad] * (longest - len(text))] for text in texts])
    return F.normalize(model.text_features(ids), dim=-1)


def _cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Return the mean over rows that have right answers, all of a row's equally likely."""
    some = right.any(dim=1)
    share = right[some].float() / right[some].sum(dim=1, keepdim=True)
    return -(share * logits[some].log_softmax(dim=1)).sum(dim=1).mean()


def _passes(steps: int, batch: int) -> Iterable[Tensor]:
    """Yield the scenes of each step, in passes over all of them."""
    generator = torch.Generator().manual_seed(0)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(SCENES, generator=generator)
        rows, order = order[:batch], order[batch:]
        yield rows


class _Optimizer:
    """AdamW with a warm-up of 100 steps and a cosine to a tenth; only matrices decay."""

    def __init__(self, parameters: Sequence[Tensor], steps: int) -> None:
        self._parameters = parameters
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam,
            lambda step: (
                min((step + 1) / 100, 1) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
            ),
        )

    def step(self, loss: Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()
        self._schedule.step()
        self._adam.zero_grad()


def main() -> None:
    """Train, or go on, and pack."""
    parser = argparse.ArgumentParser(description="Make the bundled nano model.")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="directory of the run")
    parser.add_argument("--resume", action="store_true", help="leave out stages that are done")
    arguments = parser.parse_args()
    seen, reads, both = (arguments.out / name for name in ("seeing", "reading", "together"))

    def done(stage: Path) -> bool:
        return bool(arguments.resume) and (stage / "model.safetensors").exists()

    with progress_display() as progress:
        if not done(reads):
            pixels = draw_all(progress)
            if not done(seen):
                see(pixels, seen, progress)
            read(longclip.load(seen), pixels, reads, progress)
        together(reads, both, arguments.resume, progress)
    pack(both / "model", NANO)


if __name__ == "__main__":
    main()
