"""Lengthen a CLIP and fine-tune it on long captions, from Python.

    python examples/train.py --model nano --data scenes/train-groups --out runs/example --steps 100

`--model` is a model directory, a checkpoint file, a hub name or `nano`; `--data` whatever
`longclip train --data` takes. The last lines say what was gained and how to load the result.
"""

# %% What to use
import argparse
from dataclasses import replace
from pathlib import Path

import torch

import longclip
from longclip.data import open_data
from longclip.evaluation import evaluate
from longclip.training import RECIPES, train

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="nano")
parser.add_argument("--data", default="scenes/train-groups")
parser.add_argument("--test", default="scenes/val")
parser.add_argument("--out", type=Path, default=Path("runs/example"))
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--batch-size", type=int, default=64)
settings, _ = parser.parse_known_args()

# %% Long-CLIP, with any setting of the recipe replaced
config = replace(
    RECIPES["paper"](),
    model=settings.model,
    data=(settings.data,),
    out=settings.out,
    steps=settings.steps,
    batch_size=settings.batch_size,
)
result = train(config, on_step=lambda step: print(step))

# %% Before and after, on the same images
test = open_data(settings.test)
for name, source in (("before", settings.model), ("after", settings.out / "model")):
    model = longclip.load(source)
    measured = evaluate(model, test, name=name)
    print(name, measured)

# %% The result is a stock CLIP: transformers loads it as it is
with torch.no_grad():
    print(longclip.load(settings.out / "model").encode_text(["A lighthouse at dusk."]).shape)
