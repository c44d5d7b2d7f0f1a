"""Retrieval benchmarks, with one long description an image or with five short captions."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from longclip.data.layouts.benchmark_table import open_long_texts, open_short_texts
from longclip.data.layouts.descriptions import (
    open_dci,
    open_docci,
    open_iiw,
    open_sharegpt4v,
    open_stem_pairs,
)
from longclip.data.layouts.file_collection import FileCollection, holding
from longclip.data.layouts.short_captions import (
    FLICKR8K_FOLDERS,
    FLICKR30K_FOLDERS,
    open_coco,
    open_flickr30k_table,
    open_flickr_tokens,
    open_karpathy,
)
from longclip.evaluation.benchmarks.benchmark import Benchmark, or_parquet

_PAIRS = (
    "One caption an image, one image a caption; R@K in both directions, ranked by cosine, ties "
    "count against the model. "
)
_LONG_CLIP = "Zhang et al., Long-CLIP, ECCV 2024 (arXiv 2403.15378)"
_DCI = "Urbanek et al., A Picture is Worth More Than 77 Text Tokens, CVPR 2024 (arXiv 2312.08578)"
_SA_1B = "images: SA-1B's own licence, for research; see its page"

_URBAN1K = Benchmark(
    name="urban1k",
    title="Urban-1k",
    task="long",
    images=1_000,
    texts=1_000,
    classes=0,
    protocol=_PAIRS + "Images and captions are paired by file stem, in the order of the stems; "
    "the caption is the whole file. The published script reads its first line only: "
    "`urban1k-first-line` does that.",
    source=_LONG_CLIP + ", its extended evaluation set",
    licence="CC BY-NC 4.0",
    gigabytes=0.08,
    get="Urban-1k.zip from huggingface.co/datasets/BeichenZhang/Urban1k. Unpack it.",
    layout="image/*.jpg and caption/*.txt with the same stems; or Parquet with image and caption",
    folders=("urban1k", "Urban1k", "Urban-1k"),
    hub="BeichenZhang/Urban1k",
    open=or_parquet(open_stem_pairs, open_long_texts),
)

_DCI_DATA = Benchmark(
    name="dci",
    title="Densely Captioned Images, all 7,805",
    task="long",
    images=7_805,
    texts=7_805,
    classes=0,
    protocol=_PAIRS + "The images of all three splits of splits.json, as LoTLIP takes them; the "
    "text is short_caption, a line break, extra_caption, unchanged, as DCI's own "
    "get_extended_caption builds it (LoTLIP's script also splits it at periods and joins it again, "
    "which drops the last period). Masks and summaries are not used. Pools differ from paper to "
    "paper: 44, 57 and 64 are all quoted for the same Long-CLIP weights. Others take 7,000 extra "
    "captions (`long-dci`), a split of about 2,000 of their own, or the 112 test images with "
    "their summaries; none of these may be compared with this one.",
    source=_DCI + "; pool of Wu et al., LoTLIP, NeurIPS 2024 (arXiv 2410.05249)",
    licence="annotations CC BY-NC; " + _SA_1B,
    gigabytes=None,
    get="dci.tar.gz and one archive of images, by the README of github.com/facebookresearch/DCI. "
    "The annotations are at dl.fbaipublicfiles.com/densely_captioned_images/dci.tar.gz; the "
    "pictures are those of SA-1B's archive sa_000138.tar (ai.meta.com/datasets/"
    "segment-anything-downloads, after accepting its licence), to be put into photos/.",
    layout="densely_captioned_images/ or its content: splits.json, annotations/*.json, "
    "photos/sa_*.jpg; or Parquet with image and caption",
    folders=("dci", "DCI", "densely_captioned_images", "long-dci"),
    open=or_parquet(open_dci, open_long_texts),
)

_IIW_DATA = Benchmark(
    name="iiw",
    title="ImageInWords, human-annotated: 612",
    task="long",
    images=612,
    texts=612,
    classes=0,
    protocol=_PAIRS + "The pool of LoTLIP: DOCCI-Test (100), IIW-400 (400) and DCI-Test (112), in "
    "this order; the text is the human-written field `IIW`, unchanged.",
    source="Garg et al., ImageInWords, 2024 (arXiv 2405.02793); pool of Wu et al., LoTLIP, "
    "NeurIPS 2024 (arXiv 2410.05249)",
    licence="annotations and DOCCI images CC BY 4.0; " + _SA_1B,
    gigabytes=None,
    get="The folder datasets/ of github.com/google/imageinwords, and the pictures from DOCCI and "
    "DCI. DOCCI's images and its AAR images are at google.github.io/docci/#downloads; how to get "
    "DCI's, `longclip benchmarks dci` says.",
    layout="DOCCI_Test/data.jsonl with docci/ or images/, IIW-400/data.jsonl with docci_aar/ or "
    "images_aar/, DCI_Test/data.jsonl with dci/ or photos/; or Parquet with image and caption",
    folders=("iiw", "imageinwords", "IIW"),
    open=or_parquet(open_iiw, open_long_texts),
)

LONG_TEXTS = (
    Benchmark(
        name="sharegpt4v-1k",
        title="ShareGPT4V, first 1,000 rows",
        task="long",
        images=1_000,
        texts=1_000,
        classes=0,
        protocol=_PAIRS + "The first 1,000 rows of the json in its order; the caption is the "
        "second turn, line breaks replaced by spaces. All later rows are Long-CLIP's training "
        "data.",
        source="Chen et al., ShareGPT4V, 2023 (arXiv 2311.12793); split of " + _LONG_CLIP,
        licence="captions CC BY-NC 4.0; " + _SA_1B,
        gigabytes=None,
        get="share-captioner_coco_lcs_sam_1246k_1107.json (1.5 GB) from "
        "huggingface.co/datasets/Lin-Chen/ShareGPT4V, and the images that its first 1,000 rows "
        "name. These are SA-1B pictures (ai.meta.com/datasets/segment-anything-downloads).",
        layout="share-captioner_coco_lcs_sam_1246k_1107.json, and the images under the relative "
        "paths it gives, beside it or in data/; or Parquet with image and caption",
        folders=("sharegpt4v-1k", "sharegpt4v", "ShareGPT4V"),
        open=or_parquet(partial(open_sharegpt4v, rows=1_000), open_long_texts),
    ),
    _URBAN1K,
    replace(
        _URBAN1K,
        name="urban1k-first-line",
        title="Urban-1k as the published script reads it",
        protocol=_PAIRS + "As `urban1k`, except that the caption is the first line of its file, "
        "as the published script reads it.",
        folders=("urban1k", "Urban1k", "Urban-1k", "urban1k-first-line"),
        open=partial(open_stem_pairs, first_line=True),
        layout="image/*.jpg and caption/*.txt with the same stems",
    ),
    replace(
        _URBAN1K,
        name="urban200",
        title="Urban-200",
        images=200,
        texts=200,
        protocol=_PAIRS + "As `urban1k`, with the 200 images of the paper's tables.",
        source=_LONG_CLIP,
        licence="not published; see the authors' repository",
        gigabytes=None,
        get="Never published on its own: the authors released Urban-1k in its place. Ask them, "
        "or measure `urban1k` (github.com/beichenzbc/Long-CLIP, issues 4 and 17).",
        folders=("urban200", "Urban200", "Urban-200"),
        hub="",
    ),
    Benchmark(
        name="docci",
        title="DOCCI, test split",
        task="long",
        images=5_000,
        texts=5_000,
        classes=0,
        protocol=_PAIRS + "The rows whose split is `test` (not qual_test), in the order of their "
        "file names; the whole description.",
        source="Onoe et al., DOCCI, ECCV 2024 (arXiv 2404.19753)",
        licence="CC BY 4.0",
        gigabytes=7.6,
        get="docci_descriptions.jsonlines and docci_images.tar.gz from "
        "google.github.io/docci/#downloads. Unpack the images beside the descriptions.",
        layout="docci_descriptions.jsonlines and images/*.jpg; or Parquet with image and "
        "description",
        folders=("docci", "DOCCI"),
        open=or_parquet(open_docci, open_long_texts),
    ),
    _DCI_DATA,
    replace(
        _DCI_DATA,
        name="long-dci",
        title="Long-DCI",
        images=7_000,
        texts=7_000,
        protocol=_PAIRS + "All annotation files with an extra caption, in the order of their "
        "names; the text is the extra caption alone. The paper says 7,000 images, a round number, "
        "so the count that this rule gives is reported, not checked; the annotation files that "
        "splits.json names must all be there.",
        source=_DCI + "; pool of Najdenkoska et al., TULIP, 2024 (arXiv 2410.10034)",
        folders=("long-dci", "dci", "DCI", "densely_captioned_images"),
        exact=False,
        open=or_parquet(partial(open_dci, extra_only=True), open_long_texts),
    ),
    _IIW_DATA,
    replace(
        _IIW_DATA,
        name="iiw-400",
        title="ImageInWords, IIW-400",
        images=400,
        texts=400,
        protocol=_PAIRS + "IIW-400 alone; the text is the human-written field `IIW`, unchanged.",
        source="Garg et al., ImageInWords, 2024 (arXiv 2405.02793)",
        licence="CC BY 4.0",
        get="datasets/IIW-400/data.jsonl of github.com/google/imageinwords, and DOCCI's AAR "
        "images. The images are at google.github.io/docci/#downloads.",
        layout="IIW-400/data.jsonl with docci_aar/ or images_aar/; or Parquet with image and "
        "caption",
        folders=("iiw-400", "iiw", "imageinwords", "IIW"),
        open=or_parquet(partial(open_iiw, parts=("IIW-400",)), open_long_texts),
    ),
)


_FIVE = (
    "Five captions an image. Image to text counts a hit where any of them is among the K best; "
    "text to image has every caption as a query. Ranked by cosine, ties count against the model. "
)
_KARPATHY = "Karpathy and Fei-Fei, CVPR 2015"
_SPLITS = "caption_datasets.zip of cs.stanford.edu/people/karpathy/deepimagesent"
_FLICKR_TERMS = "research and education, non-commercial; images under Flickr's terms of use"


def _open_flickr30k(root: Path, name: str) -> FileCollection:
    if holding(root, "flickr_annotations_30k.csv"):
        return open_flickr30k_table(root, name, split="test")
    return open_karpathy(root, name, file="dataset_flickr30k.json", folders=FLICKR30K_FOLDERS)


def _open_flickr8k(root: Path, name: str) -> FileCollection:
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
    open=or_parquet(_open_flickr30k, open_short_texts),
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
        open=or_parquet(
            partial(
                open_flickr_tokens, token_file="results_20130124.token", folders=FLICKR30K_FOLDERS
            ),
            open_short_texts,
            split="",
        ),
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
        open=or_parquet(_open_flickr8k, open_short_texts),
    ),
)
