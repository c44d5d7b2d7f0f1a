"""Zero-shot classification benchmarks, and the names of their classes in order of number."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from longclip.data.layouts.benchmark_table import open_labels
from longclip.data.layouts.classification import open_cifar, open_class_folders
from longclip.evaluation.benchmarks.benchmark import Benchmark, or_parquet


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the WordNet ids of the 1,000 classes, and their names in OpenAI's prompt notebook."""
    rows = (Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8")
    pairs = [line.split("\t") for line in rows.splitlines()]
    return tuple(wnid for wnid, _ in pairs), tuple(name for _, name in pairs)


@cache
def imagenet_o_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return WordNet ids and names of the 200 classes whose lookalikes ImageNet-O shows."""
    text = (Path(__file__).parent / "imagenet_o_classes.txt").read_text(encoding="utf-8")
    name_of = dict(zip(*imagenet_classes(), strict=True))
    wnids = tuple(text.split())
    return wnids, tuple(name_of[wnid] for wnid in wnids)


_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
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
CIFAR10_CLASSES, CIFAR100_CLASSES = tuple(_CIFAR10.split()), tuple(_CIFAR100.split())

_PROMPTS = (
    "Each class is the mean of OpenAI's 80 ImageNet prompts, embedded and normalised, then "
    "normalised again; top-1 by cosine, ties count against the model. "
)
_NAMES = "Class names are those of OpenAI's prompt notebook. "
_TERMS = "ImageNet's terms of access: research and education, non-commercial"


_WNIDS, _CLASSES = imagenet_classes()
_NUMBER_OF_WNID = {wnid: number for number, wnid in enumerate(_WNIDS)}
_O_WNIDS, _O_CLASSES = imagenet_o_classes()
_imagenet_table = partial(open_labels, classes=_CLASSES, wnids=_WNIDS)


def _cifar_set(task: str, names: Sequence[str], *, spelling: str = "") -> Benchmark:
    number, fine = len(names), len(names) == 100
    file = "test.bin" if fine else "test_batch.bin"
    return Benchmark(
        name=task,
        title=f"CIFAR-{number}, test set",
        task="zero-shot",
        images=10_000,
        texts=0,
        classes=number,
        protocol=_PROMPTS + "The paper asks the ImageNet prompts here too. " + spelling,
        source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        licence="none stated; its page asks to cite the report",
        gigabytes=0.16,
        get=f"cifar-{number}-binary.tar.gz from www.cs.toronto.edu/~kriz/cifar.html. Unpack it. "
        "The Python version of it is a pickle, which can run any code it holds, and is not read.",
        layout=f"{file}, as the binary version unpacks; or Parquet with image and label",
        folders=(
            *dict.fromkeys((f"cifar{number}", task)),
            f"cifar-{number}-binary" if fine else "cifar-10-batches-bin",
        ),
        hub=f"uoft-cs/cifar{number}",
        hub_files=("*/test-*.parquet",),
        open=or_parquet(
            partial(open_cifar, classes=names, fine=fine),
            partial(open_labels, classes=names),
        ),
    )


_IMAGENET = Benchmark(
    name="imagenet",
    title="ImageNet-1k, validation set",
    task="zero-shot",
    images=50_000,
    texts=0,
    classes=1_000,
    protocol=_PROMPTS + _NAMES + "Two of these names stand for two classes each, `missile` and "
    "`sunglasses`: their images tie, so at most 49,800 of 50,000 can be right.",
    source="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
    licence=_TERMS,
    gigabytes=6.7,
    get="ILSVRC2012_img_val.tar from image-net.org, after registering. It unpacks into one folder: "
    "sort the pictures into 1,000 folders by the ground truth of the development kit.",
    layout="1,000 folders called after WordNet ids (n01440764 …), here or in val/; or Parquet "
    "with image and label",
    folders=("imagenet", "imagenet-1k", "ImageNet", "ILSVRC2012", "imagenet1k"),
    open=or_parquet(
        partial(
            open_class_folders,
            class_of_folder=_NUMBER_OF_WNID,
            classes=_CLASSES,
            places=("val", "validation", "ILSVRC/Data/CLS-LOC/val"),
        ),
        _imagenet_table,
        split="val",
    ),
)

ZERO_SHOT_SETS = (
    _IMAGENET,
    replace(
        _IMAGENET,
        name="imagenet-v2",
        title="ImageNet-V2, matched frequency",
        images=10_000,
        protocol=_PROMPTS + _NAMES + "Folders 0 to 999 are class numbers, not places in the order "
        "of their names. As in `imagenet`, two names stand for two classes each.",
        source="Recht et al., Do ImageNet Classifiers Generalize to ImageNet?, ICML 2019",
        licence="see the data set's page (github.com/modestyachts/ImageNetV2)",
        gigabytes=1.3,
        get="imagenetv2-matched-frequency.tar.gz from huggingface.co/datasets/vaishaal/ImageNetV2. "
        "Unpack it.",
        layout="folders 0 to 999; or Parquet with image and label",
        folders=(
            "imagenet-v2",
            "imagenetv2",
            "imagenetv2-matched-frequency-format-val",
            "imagenetv2-matched-frequency",
        ),
        hub="vaishaal/ImageNetV2",
        hub_files=("imagenetv2-matched-frequency.tar.gz",),
        open=or_parquet(
            partial(
                open_class_folders,
                # Some copies have been renamed after ImageNet's own folders.
                class_of_folder={str(i): i for i in range(len(_CLASSES))} | _NUMBER_OF_WNID,
                classes=_CLASSES,
                places=("imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency"),
            ),
            _imagenet_table,
        ),
    ),
    replace(
        _IMAGENET,
        name="imagenet-o",
        title="ImageNet-O",
        images=2_000,
        classes=200,
        protocol=_PROMPTS + _NAMES + "Classified among its 200 of the 1,000 classes. The set was "
        "made for detecting what belongs to no class; as classification it follows the paper.",
        source="Hendrycks et al., Natural Adversarial Examples, CVPR 2021 (arXiv 1907.07174)",
        licence="see the data set's page (github.com/hendrycks/natural-adv-examples)",
        gigabytes=None,
        get="imagenet-o.tar by github.com/hendrycks/natural-adv-examples. Unpack it.",
        layout="200 folders called after WordNet ids; or Parquet with image and label",
        folders=("imagenet-o", "imagenet_o", "ImageNet-O"),
        open=or_parquet(
            partial(
                open_class_folders,
                class_of_folder={wnid: i for i, wnid in enumerate(_O_WNIDS)},
                classes=_O_CLASSES,
                places=("imagenet-o",),
            ),
            partial(open_labels, classes=_O_CLASSES, wnids=_O_WNIDS),
        ),
    ),
    _cifar_set("cifar10", CIFAR10_CLASSES),
    _cifar_set(
        "cifar100",
        CIFAR100_CLASSES,
        spelling="Class names are the data set's own, with underscores (`aquarium_fish`), as the "
        "published script asks them; `cifar100-spaced` writes spaces.",
    ),
    _cifar_set(
        "cifar100-spaced",
        tuple(name.replace("_", " ") for name in CIFAR100_CLASSES),
        spelling="Class names are written with spaces (`aquarium fish`), unlike `cifar100`.",
    ),
)
