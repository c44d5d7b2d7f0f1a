"""Lengthen a CLIP and fine-tune it on long captions, from Python.

Run it cell by cell in an editor that knows `# %%`, or at once. As it stands it takes a minute or
two on two processor cores and fetches nothing:

    python examples/train.py --out runs/example

`--model` is a model directory, a checkpoint file, a name on the hub or `nano`; `--data` is
what `longclip train --data` takes, and `--test` what `longclip eval --data` takes.
"""

# %% What to use
import argparse
from dataclasses import replace
from pathlib import Path

import longclip
from longclip.data import open_collection
from longclip.evaluation import evaluate
from longclip.training import RECIPES, train

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="nano")
parser.add_argument("--data", default="scenes/train-groups")
parser.add_argument("--test", default="scenes/val")
parser.add_argument("--out", type=Path, default=Path("runs/example"))
parser.add_argument("--steps", type=int, default=16)
parser.add_argument("--batch-size", type=int, default=48)
# For nano; leave it out for a large CLIP, and the recipe's own rate is used.
parser.add_argument("--lr", type=float, default=5e-4)
# A notebook has arguments of its own.
settings, _ = parser.parse_known_args()

# %% The paper's recipe, with a few settings replaced; every option of `longclip train` is a field
config = replace(
    RECIPES["paper"](),
    model=settings.model,
    data=(settings.data,),
    out=settings.out,
    steps=settings.steps,
    batch_size=settings.batch_size,
    lr=settings.lr,
)
print(f"{config.stretch} to {config.context_length} tokens, {config.steps} steps")

# %% Train; `train(config, resume=True)` continues a run that was interrupted
result = train(
    config, on_step=lambda step, steps, note: print(f"step {step} of {steps}, {note}", flush=True)
)
print(f"{result.model}: {result.pairs_per_second:.0f} pairs/s")

# %% Before and after, on the same images
test = open_collection(settings.test)
for name, source in (("before", settings.model), ("after", result.model)):
    long = evaluate(longclip.load(source), test, name=name).long
    if long is not None:
        print(f"{name}: long texts, text to image, R@1 {100 * long.recall.text_to_image[1]:.1f} %")

# %% The result is a stock CLIP: transformers loads the directory as it is, and so do we
longer = longclip.load(result.model)
print(longer.context_length, tuple(longer.encode_text(["A lighthouse at dusk."]).shape))
