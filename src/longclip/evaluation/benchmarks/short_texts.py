"""Retrieval with five short captions an image."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from longclip.data.layouts.file_collection import FileCollection, holding
from longclip.data.layouts.parquet import open_short_texts
from longclip.data.layouts.short_captions import (
    FLICKR8K_FOLDERS,
    FLICKR30K_FOLDERS,
    open_coco,
    open_flickr30k_table,
    open_flickr_tokens,
    open_karpathy,
)
from longclip.evaluation.benchmarks.benchmark import Benchmark, or_parquet

_FIVE = (
    "Five captions an image. Image to text counts a hit where any of them is among the K best; "
    "text to image has every caption as a query. Ranked by cosine, ties count against the model. "
)
_KARPATHY = "Karpathy and Fei-Fei, CVPR 2015"
_SPLITS = "caption_datasets.zip of cs.stanford.edu/people/karpathy/deepimagesent"
_FLICKR_TERMS = "research and education, non-commercial; images under Flickr's terms of use"


def _flickr30k(root: Path, name: str, *, split: str | None) -> FileCollection:
    if split is None:
        return open_flickr_tokens(
            root, name, token_file="results_20130124.token", folders=FLICKR30K_FOLDERS
        )
    if holding(root, "flickr_annotations_30k.csv"):
        return open_flickr30k_table(root, name, split=split)
    return open_karpathy(
        root, name, file="dataset_flickr30k.json", folders=FLICKR30K_FOLDERS, split=split
    )


def _flickr8k(root: Path, name: str) -> FileCollection:
    if holding(root, "dataset_flickr8k.json"):
        return open_karpathy(root, name, file="dataset_flickr8k.json", folders=FLICKR8K_FOLDERS)
    return open_flickr_tokens(
        root,
        name,
        token_file="Flickr8k.token.txt",
        folders=FLICKR8K_FOLDERS,
        names_file="Flickr_8k.testImages.txt",
    )


_COCO = Benchmark(
    name="coco-5k",
    title="COCO val2017, 5,000 images",
    task="short",
    images=5_000,
    texts=25_000,
    classes=0,
    protocol=_FIVE + "All images of val2017 in the order of their ids; the first five captions of "
    "each in the order of the file: 25,000 of 25,014. This is the paper's COCO.",
    source="Lin et al., Microsoft COCO, ECCV 2014; Chen et al., Microsoft COCO Captions, 2015 "
    "(arXiv 1504.00325)",
    licence="annotations CC BY 4.0; images under Flickr's terms of use",
    gigabytes=1.1,
    get="val2017.zip and annotations_trainval2017.zip from cocodataset.org/#download. Unpack both "
    "into one folder.",
    layout="val2017/*.jpg and annotations/captions_val2017.json; or Parquet with image and "
    "captions",
    folders=("coco-5k", "coco", "COCO", "coco2017", "mscoco"),
    marker="annotations/captions_val2017.json",
    open=or_parquet(open_coco, open_short_texts, split="val"),
)

_FLICKR30K = Benchmark(
    name="flickr30k-1k",
    title="Flickr30k, Karpathy's test split",
    task="short",
    images=1_000,
    texts=5_000,
    classes=0,
    protocol=_FIVE + "The 1,000 images of Karpathy's test split, which nearly everybody but the "
    "paper measures (the paper: `flickr30k-all`).",
    source="Young et al., TACL 2014; split of " + _KARPATHY,
    licence=_FLICKR_TERMS,
    gigabytes=4.4,
    get="The images by the form at shannon.cs.illinois.edu/DenotationGraph, and dataset_flickr30k"
    f".json of {_SPLITS}. huggingface.co/datasets/nlphuji/flickr30k holds both.",
    layout="dataset_flickr30k.json (or flickr_annotations_30k.csv) and flickr30k-images/*.jpg; or "
    "Parquet with image and captions",
    folders=("flickr30k-1k", "flickr30k", "Flickr30k", "flickr", "flickr30k-all"),
    hub="nlphuji/flickr30k",
    hub_files=("flickr30k-images.zip", "flickr_annotations_30k.csv"),
    open=or_parquet(partial(_flickr30k, split="test"), open_short_texts),
)

SHORT_TEXTS = (
    _COCO,
    replace(
        _COCO,
        name="coco-karpathy",
        title="COCO, Karpathy's test split",
        protocol=_FIVE + "The 5,000 images of Karpathy's test split, all from val2014; the first "
        "five captions of each in the order of the file.",
        source="Lin et al., Microsoft COCO, ECCV 2014; split of " + _KARPATHY,
        gigabytes=6.7,
        get=f"val2014.zip from cocodataset.org/#download, and dataset_coco.json of {_SPLITS}. "
        "Put both into one folder.",
        layout="dataset_coco.json and val2014/*.jpg; or Parquet with image and captions",
        folders=("coco-karpathy", "coco", "COCO", "coco2014", "mscoco"),
        marker="dataset_coco.json",
        open=or_parquet(
            partial(open_karpathy, file="dataset_coco.json", folders=("val2014",)),
            open_short_texts,
        ),
    ),
    _FLICKR30K,
    replace(
        _FLICKR30K,
        name="flickr30k-all",
        title="Flickr30k, all images",
        images=31_783,
        texts=158_915,
        protocol=_FIVE + "All images, in the order of results_20130124.token, which the paper's "
        "script reads. That script ranks a half-precision softmax without temperature, which ties "
        "and costs 2 points of image-to-text R@1; here ranks are by cosine in float32. Karpathy's "
        "table has fewer images: 31,014.",
        source="Young et al., TACL 2014",
        get="flickr30k-images and results_20130124.token, by the form at "
        "shannon.cs.illinois.edu/DenotationGraph. Put both into one folder.",
        layout="results_20130124.token and flickr30k-images/*.jpg; or Parquet with image and "
        "captions",
        folders=("flickr30k-all", "flickr30k", "Flickr30k", "flickr"),
        hub="",
        hub_files=(),
        open=or_parquet(partial(_flickr30k, split=None), open_short_texts, split=""),
    ),
    Benchmark(
        name="flickr8k",
        title="Flickr8k, test split",
        task="short",
        images=1_000,
        texts=5_000,
        classes=0,
        protocol=_FIVE + "The 1,000 images of Flickr_8k.testImages.txt, which are Karpathy's test "
        "split as well.",
        source="Hodosh, Young and Hockenmaier, JAIR 2013",
        licence=_FLICKR_TERMS,
        gigabytes=1.1,
        get="Flickr8k_Dataset.zip and Flickr8k_text.zip, by the form of the University of Illinois "
        "(hockenmaier.cs.illinois.edu/8k-pictures.html). Unpack both into one folder.",
        layout="Flickr8k.token.txt, Flickr_8k.testImages.txt and Flicker8k_Dataset/*.jpg; or "
        "dataset_flickr8k.json with images/; or Parquet with image and captions",
        folders=("flickr8k", "Flickr8k", "Flickr8K"),
        open=or_parquet(_flickr8k, open_short_texts),
    ),
)
