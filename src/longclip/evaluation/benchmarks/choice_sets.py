"""Choice benchmarks: the caption that fits a picture among others that nearly do."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from longclip.data.collection import Collection
from longclip.data.layouts.benchmark_table import parquet_files
from longclip.data.layouts.choices import (
    open_orders,
    open_sugarcrepe,
    open_visual_genome,
    open_winoground,
)
from longclip.errors import DataError
from longclip.evaluation.benchmarks.benchmark import Benchmark, Reader

_TIES = " By cosine; ties count against the model."
_COCO_TERMS = "; COCO's images under Flickr's terms of use"
_COCO_PICTURES = "val2017.zip from cocodataset.org/#download"
_LEAST_ATTRIBUTIONS = 25


def _left_out_relations() -> tuple[str, ...]:
    """Return the relations that ARO's published script leaves out of the mean."""
    file = Path(__file__).with_name("aro_left_out_relations.txt")
    return tuple(file.read_text(encoding="utf-8").splitlines())


def _tables_alone(read: Callable[[list[Path], str], Collection]) -> Reader:
    """Return a reader of data that are published as Parquet files alone."""

    def open_tables(path: Path, name: str) -> Collection:
        files = parquet_files(path, "test")
        if not files:
            raise DataError(f"{path} holds no Parquet files")
        return read(files, name)

    return open_tables


_REPLACED_AND_SWAPPED = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att")

_SUGARCREPE = Benchmark(
    name="sugarcrepe",
    title="SugarCrepe",
    task="choice",
    images=0,
    texts=0,
    classes=0,
    questions=7_500,
    # The number of questions differs between versions of the files.
    exact=False,
    protocol="A picture of COCO with its caption and one that a language model made wrong, in "
    "seven categories: an object, an attribute or a relation replaced, two objects or attributes "
    "swapped, an object or an attribute added. Right where the true caption scores higher; the "
    "paper tells the share of each category." + _TIES,
    source="Hsieh et al., SugarCrepe, NeurIPS 2023 (arXiv 2306.14610)",
    licence="MIT" + _COCO_TERMS,
    gigabytes=0.8,
    get="The folder data of github.com/RAIVNLab/sugar-crepe, and "
    f"{_COCO_PICTURES}. Unpack the pictures beside the files.",
    layout="add_att.json, add_obj.json, replace_att.json, replace_obj.json, replace_rel.json, "
    "swap_att.json and swap_obj.json, and val2017/*.jpg",
    folders=("sugarcrepe", "sugar-crepe", "SugarCrepe"),
    open=partial(
        open_sugarcrepe,
        categories=(*_REPLACED_AND_SWAPPED, "add_obj", "add_att"),
        captions=("caption", "negative_caption"),
        rule="first",
    ),
)

_ARO = Benchmark(
    name="aro-relation",
    title="ARO, Visual Genome Relation",
    task="choice",
    images=0,
    texts=0,
    classes=0,
    questions=23_937,
    # The numbers are the paper's; the files were not at hand to count.
    exact=False,
    protocol="A part of a picture of Visual Genome, cut out by its box, with a caption and the "
    "same one with its two objects exchanged. Right where the true caption scores higher; "
    "the paper tells the mean over the relations, without those that its script takes for "
    "symmetric or too rare." + _TIES,
    source="Yuksekgonul et al., When and why vision-language models behave like bags-of-words, "
    "ICLR 2023 (arXiv 2210.01936)",
    licence="MIT; Visual Genome's images CC BY 4.0",
    gigabytes=1,
    get="visual_genome_relation.json and vgr_vga_images.zip, which the data sets of "
    "github.com/mertyg/vision-language-models-are-bows download. Unpack the pictures beside the "
    "file.",
    layout="visual_genome_relation.json and images/*.jpg",
    folders=("aro-relation", "aro", "ARO"),
    open=partial(
        open_visual_genome,
        file="visual_genome_relation.json",
        category="relation_name",
        left_out=_left_out_relations(),
    ),
)

_ARO_ORDER = replace(
    _ARO,
    name="aro-coco-order",
    title="ARO, COCO Order",
    questions=25_010,
    protocol="A picture with a caption, and four times with its words in another order: nouns and "
    "adjectives, all other words, words within groups of three, and the groups. Right where the "
    "caption scores above all four. The published script shuffles anew each time it is run; "
    "these are the texts that MTEB keeps." + _TIES,
    licence="MIT" + _COCO_TERMS,
    gigabytes=None,
    get="The Parquet files of huggingface.co/datasets/mteb/ARO-COCO-order.",
    layout="Parquet with images, correct_caption and hard_text_1 to hard_text_4",
    folders=("aro-coco-order", "ARO-COCO-order"),
    hub="mteb/ARO-COCO-order",
    open=_tables_alone(open_orders),
)

CHOICE_SETS = (
    _SUGARCREPE,
    replace(
        _SUGARCREPE,
        name="sugarcrepe++",
        title="SugarCrepe++",
        questions=4_757,
        exact=True,
        protocol="SugarCrepe's pictures, true and wrong captions, without those that add "
        "something, and a second true caption in other words. `image to text`: both true "
        "captions score above the wrong one. `texts alone`: the true captions are nearer to each "
        "other than either is to the wrong one." + _TIES,
        source="Dumpala et al., SugarCrepe++, NeurIPS 2024 (arXiv 2406.11171)",
        licence="CC BY 4.0" + _COCO_TERMS,
        get="The folder data of huggingface.co/datasets/Aman-J/SugarCrepe_pp, and "
        f"{_COCO_PICTURES}. Unpack the pictures beside the files.",
        layout="replace_att.json, replace_obj.json, replace_rel.json, swap_att.json and "
        "swap_obj.json, and val2017/*.jpg",
        folders=("sugarcrepe++", "sugarcrepe_pp", "SugarCrepe_pp", "scpp"),
        open=partial(
            open_sugarcrepe,
            categories=_REPLACED_AND_SWAPPED,
            captions=("caption", "caption2", "negative_caption"),
            rule="first two",
        ),
    ),
    _ARO,
    replace(
        _ARO,
        name="aro-attribution",
        title="ARO, Visual Genome Attribution",
        questions=28_748,
        protocol="As `aro-relation`, with the attributes of two objects exchanged. The paper tells "
        f"the mean over the pairs of attributes that {_LEAST_ATTRIBUTIONS} questions or more have."
        + _TIES,
        get=_ARO.get.replace("relation.json", "attribution.json"),
        layout="visual_genome_attribution.json and images/*.jpg",
        folders=("aro-attribution", "aro", "ARO"),
        open=partial(
            open_visual_genome,
            file="visual_genome_attribution.json",
            category="attributes",
            least=_LEAST_ATTRIBUTIONS,
        ),
    ),
    _ARO_ORDER,
    replace(
        _ARO_ORDER,
        name="aro-flickr-order",
        title="ARO, Flickr30k Order",
        questions=5_000,
        licence="MIT; images under Flickr's terms of use",
        get="The Parquet files of huggingface.co/datasets/gowitheflow/ARO-Flickr-Order.",
        folders=("aro-flickr-order", "ARO-Flickr-Order"),
        hub="gowitheflow/ARO-Flickr-Order",
    ),
    Benchmark(
        name="winoground",
        title="Winoground",
        task="choice",
        images=800,
        texts=0,
        classes=0,
        questions=400,
        protocol="Two pictures and two captions with the same words. `text`: for both pictures the "
        "own caption scores higher; `image`: for both captions the own picture does; `group`: both."
        + _TIES,
        source="Thrush et al., Winoground, CVPR 2022 (arXiv 2204.03162)",
        licence="Meta's research licence; images from Getty",
        gigabytes=None,
        get="data/examples.jsonl and data/images.zip of "
        "huggingface.co/datasets/facebook/winoground, after accepting its licence. "
        "Unpack the pictures beside the file.",
        layout="examples.jsonl and images/*.png",
        folders=("winoground", "Winoground"),
        open=open_winoground,
    ),
)
