"""Published results, in percent, to be held against: benchmark, then model, then numbers."""

from dataclasses import dataclass

_PAPER = "Zhang et al., Long-CLIP, ECCV 2024 (arXiv 2403.15378)"
_URBAN1K = "the Long-CLIP authors, for Urban-1k"
_LOTLIP = "Wu et al., LoTLIP, NeurIPS 2024 (arXiv 2410.05249), authors' repository"
_DEBIAS = "DeBias-CLIP, CVPR 2026"
_HIMO = "Wu et al., HiMo-CLIP, AAAI 2026 (arXiv 2511.06653), authors' repository"

_I2T_1 = "image_to_text R@1"
_T2I_1 = "text_to_image R@1"
_T2I_5 = "text_to_image R@5"
_TOP_1 = "top1"


@dataclass(frozen=True)
class PublishedNumbers:
    """`metrics` in percent, by `image_to_text R@1`, `text_to_image R@1` … or `top1`."""

    metrics: dict[str, float]
    source: str


def _retrieval(source: str, rows: dict[str, tuple[float, float]]) -> dict[str, PublishedNumbers]:
    return {
        model: PublishedNumbers({_I2T_1: to_text, _T2I_1: to_image}, source)
        for model, (to_text, to_image) in rows.items()
    }


def _one(metric: str, source: str, rows: dict[str, float]) -> dict[str, PublishedNumbers]:
    return {model: PublishedNumbers({metric: value}, source) for model, value in rows.items()}


_CLIP_B, _CLIP_L = "CLIP B/16", "CLIP L/14"
_EVA_B = "EVA-02 B/16"
_DIRECT_B = "direct fine-tuning B/16"
_LONG_B, _LONG_L = "Long-CLIP B/16", "Long-CLIP L/14"
_KPS, _PCM = "Long-CLIP B/16, stretching only", "Long-CLIP B/16, PCM only"

PUBLISHED: dict[str, dict[str, PublishedNumbers]] = {
    "sharegpt4v-1k": _retrieval(
        _PAPER,
        {
            _CLIP_B: (78.2, 79.6),
            _DIRECT_B: (94.1, 93.6),
            _LONG_B: (94.6, 93.3),
            _CLIP_L: (81.8, 84.0),
            _LONG_L: (95.8, 95.6),
            "DeCLIP B/32": (63.1, 60.7),
            "Long-DeCLIP B/32": (84.1, 84.3),
        },
    ),
    "urban200": _retrieval(
        _PAPER,
        {
            _CLIP_B: (46.5, 46.0),
            _DIRECT_B: (78.5, 78.0),
            _LONG_B: (79.5, 79.0),
            _CLIP_L: (47.0, 47.0),
            _LONG_L: (81.5, 81.5),
            "X-VLM": (53.0, 44.5),
            "X2-VLM": (45.0, 45.0),
            "PTP-BLIP": (45.5, 39.5),
            "DeCLIP B/32": (28.0, 25.5),
            "Long-DeCLIP B/32": (54.0, 51.0),
        },
    ),
    "urban1k": _retrieval(
        _URBAN1K,
        {
            _CLIP_B: (68.1, 53.6),
            _LONG_B: (78.9, 79.5),
            _CLIP_L: (68.7, 52.8),
            _LONG_L: (82.7, 86.1),
        },
    )
    | _retrieval(_DEBIAS, {"DeBias-CLIP B/16": (93.1, 93.0)})
    | _retrieval(_HIMO, {_EVA_B: (67.0, 60.8)}),
    "docci": _one(_T2I_1, _DEBIAS, {_LONG_B: 71.4, "DeBias-CLIP B/16": 80.8})
    | _retrieval(
        _HIMO,
        {
            _CLIP_B: (58.5, 58.2),
            _CLIP_L: (57.5, 60.7),
            _LONG_L: (66.5, 78.6),
            _EVA_B: (67.7, 68.0),
        },
    ),
    "dci": _retrieval(
        _LOTLIP,
        {
            _CLIP_B: (43.01, 45.45),
            "CLIP B/32": (40.32, 43.06),
            "LoTLIP B/16": (62.63, 64.11),
            "LoTLIP B/32": (56.36, 59.90),
        },
    ),
    "iiw": _retrieval(
        _LOTLIP,
        {
            _CLIP_B: (87.58, 88.24),
            "CLIP B/32": (84.15, 86.76),
            "LoTLIP B/16": (92.65, 94.28),
            "LoTLIP B/32": (91.83, 93.14),
        },
    ),
    "coco-5k": {
        _CLIP_B: PublishedNumbers({_I2T_1: 51.8, _T2I_1: 32.7}, _PAPER),
        _DIRECT_B: PublishedNumbers({_I2T_1: 37.4, _T2I_1: 21.8, _T2I_5: 43.4}, _PAPER),
        _LONG_B: PublishedNumbers({_I2T_1: 57.6, _T2I_1: 40.4, _T2I_5: 65.8}, _PAPER),
        _CLIP_L: PublishedNumbers({_I2T_1: 56.1, _T2I_1: 35.4}, _PAPER),
        _LONG_L: PublishedNumbers({_I2T_1: 62.8, _T2I_1: 46.3}, _PAPER),
        _KPS: PublishedNumbers({_T2I_5: 64.3}, _PAPER),
        "DeCLIP B/32": PublishedNumbers({"image_to_text R@5": 60.5, _T2I_5: 45.8}, _PAPER),
        "Long-DeCLIP B/32": PublishedNumbers({"image_to_text R@5": 61.1, _T2I_5: 50.7}, _PAPER),
        "DeBias-CLIP B/16": PublishedNumbers({_I2T_1: 61.3, _T2I_1: 43.0}, _DEBIAS),
    },
    "flickr30k-all": _retrieval(
        _PAPER,
        {
            _CLIP_B: (44.1, 24.7),
            _DIRECT_B: (25.7, 17.9),
            _LONG_B: (46.8, 34.1),
            _CLIP_L: (48.5, 28.0),
            _LONG_L: (53.4, 41.2),
        },
    )
    | _retrieval(_DEBIAS, {"DeBias-CLIP B/16": (56.6, 36.6)}),
    "imagenet": _one(
        _TOP_1,
        _PAPER,
        {
            _CLIP_B: 68.4,
            _DIRECT_B: 55.1,
            _PCM: 58.8,
            _KPS: 65.6,
            _LONG_B: 66.8,
            _CLIP_L: 75.5,
            _LONG_L: 73.5,
        },
    ),
    "imagenet-o": _one(
        _TOP_1,
        _PAPER,
        {_CLIP_B: 42.2, _DIRECT_B: 31.7, _LONG_B: 42.7, _CLIP_L: 31.9, _LONG_L: 33.7},
    ),
    "imagenet-v2": _one(
        _TOP_1,
        _PAPER,
        {_CLIP_B: 61.9, _DIRECT_B: 44.8, _LONG_B: 61.2, _CLIP_L: 69.9, _LONG_L: 67.9},
    ),
    "cifar10": _one(
        _TOP_1,
        _PAPER,
        {_CLIP_B: 90.8, _DIRECT_B: 83.9, _LONG_B: 90.7, _CLIP_L: 95.5, _LONG_L: 95.3},
    ),
    "cifar100": _one(
        _TOP_1,
        _PAPER,
        {_CLIP_B: 67.3, _DIRECT_B: 59.2, _LONG_B: 69.3, _CLIP_L: 76.8, _LONG_L: 78.5},
    ),
}
