"""Names of classes, in the order of their numbers."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """WordNet ids and names of the 1,000 classes, as OpenAI's prompt notebook calls them."""
    rows = (Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8")
    pairs = [line.split("\t") for line in rows.splitlines()]
    return tuple(wnid for wnid, _ in pairs), tuple(name for _, name in pairs)


@cache
def imagenet_o_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """WordNet ids and names of the 200 classes whose lookalikes ImageNet-O shows."""
    text = (Path(__file__).parent / "imagenet_o_classes.txt").read_text(encoding="utf-8")
    name_of = dict(zip(*imagenet_classes(), strict=True))
    wnids = tuple(text.split())
    return wnids, tuple(name_of[wnid] for wnid in wnids)


def spaced(names: Sequence[str]) -> tuple[str, ...]:
    """`aquarium_fish` as one writes it."""
    return tuple(name.replace("_", " ") for name in names)


CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab
crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100.split())
