"""Make the bundled model: pre-train on drawn scenes with short captions, then pack it.

python scripts/make_nano.py            # half an hour on two cores
python scripts/make_nano.py --resume   # go on after an interruption
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import longclip
from longclip._progress import progress_display
from longclip.data import ScenesCollection
from longclip.inputs import clip_tokenizer
from longclip.training import TrainConfig, train
from longclip.training.recipes import clip

NANO = Path(__file__).parents[1] / "src" / "longclip" / "models" / "nano"


def configuration(out: Path) -> TrainConfig:
    """The `clip` recipe, in many small steps; no crops, since captions say where things are."""
    return replace(
        clip(),
        scratch="nano",
        data=("scenes",),
        out=out,
        epochs=4,
        batch_size=128,
        lr=2e-3,
        logit_scale=20.0,
        crop_scale=1.0,
    )


def pack(model: Path, destination: Path) -> None:
    """Write float16 weights, with the embeddings of tokens that never occurred set to zero.

    Those rows hold nothing but their random initial values. At zero a word that scenes do not know
    says nothing instead of something random, and the file compresses to a third.
    """
    nano = longclip.load(model)
    seen = torch.zeros(nano.config.text.vocab_size, dtype=torch.bool)
    collection = ScenesCollection("train")
    for index in range(len(collection)):
        for ids in clip_tokenizer().encode(list(collection.captions(index).short)):
            seen[ids] = True
    with torch.no_grad():
        nano.text_model.embeddings.token_embedding.weight[~seen] = 0
    card = (destination / "README.md").read_text(encoding="utf-8")
    longclip.save(nano, destination, dtype=torch.float16)
    (destination / "README.md").write_text(card, encoding="utf-8")
    print(f"{destination}: {int(seen.sum())} of {len(seen)} tokens known")


def main() -> None:
    """Train, or go on, and pack."""
    parser = argparse.ArgumentParser(description="Make the bundled nano model.")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="directory of the run")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    arguments = parser.parse_args()
    with progress_display() as progress:
        result = train(
            configuration(arguments.out),
            resume=arguments.resume,
            on_step=lambda n, of, note: progress("nano", n, of, note),
        )
    pack(result.model, NANO)


if __name__ == "__main__":
    main()
