"""Make the bundled model: pre-train on drawn scenes with short captions, then pack it.

python scripts/make_nano.py            # half an hour on two cores
python scripts/make_nano.py --resume   # go on after an interruption
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import longclip
from longclip.data import ScenesCollection, open_collection
from longclip.image.preprocess import Preprocess
from longclip.text.tokenizer import clip_tokenizer
from longclip.training import PixelStore, TrainConfig, train
from longclip.training.recipes import clip
from longclip.util.terminal import progress_display

CARD = Path(__file__).with_name("nano_card.md")
NANO = Path(__file__).parents[1] / "src" / "longclip" / "models" / "nano"


def stages(out: Path) -> list[TrainConfig]:
    """From one word to whole captions, each stage starting from the one before.

    From whole captions alone so small a model learned colours and weather and then stayed where it
    was: its text tower had come to leave out the landmarks before its image tower could tell them
    apart. A slow text tower, a high temperature and captions of one word bring it past that point;
    no crops, since captions say where things are.
    """
    common = replace(clip(), batch_size=128, lr=1e-3, crop_scale=1.0, text_lr_scale=0.1)
    landmarks = replace(
        common, scratch="nano", data=("scenes/train-landmarks",), steps=300, logit_scale=50.0
    )
    tags = replace(common, data=("scenes/train-tags",), steps=250)
    captions = replace(common, data=("scenes",), steps=1200, join_short=4, text_lr_scale=0.3)
    named = {"landmarks": landmarks, "tags": tags, "captions": captions}
    configs = [replace(stage, out=out / name) for name, stage in named.items()]
    return [
        stage if before is None else replace(stage, model=str(before.out / "model"))
        for before, stage in zip([None, *configs], configs, strict=False)
    ]


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
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        whole = Path(work) / "nano"
        longclip.save(nano, whole, dtype=torch.float16)
        # Its tokenizer is CLIP's, which the package has; whoever saves the model gets the files.
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            shutil.copy(whole / name, destination / name)
    shutil.copy(CARD, destination / "README.md")
    print(f"{destination}: {int(seen.sum())} of {len(seen)} tokens known")


def main() -> None:
    """Train, or go on, and pack."""
    parser = argparse.ArgumentParser(description="Make the bundled nano model.")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="directory of the run")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    arguments = parser.parse_args()
    configs = stages(arguments.out)
    collection = ScenesCollection("train")
    store = PixelStore(collection, Preprocess(image_size=96), cache_gb=2.0)
    with progress_display() as progress:
        for config in configs:
            store.collection = open_collection(config.data[0])
            name = config.out.name
            train(
                config,
                resume=arguments.resume and (config.out / "config.json").exists(),
                store=store,
                on_step=lambda n, of, note, name=name: progress(name, n, of, note),
            )
    pack(configs[-1].out / "model", NANO)


if __name__ == "__main__":
    main()
