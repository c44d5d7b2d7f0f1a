"""Pairs that the training-step benchmark trains on, and how much arithmetic they take.

Captions of the lengths that ShareGPT4V's have, made of random tokens; no data set is read. The mean
is what is published (Zhang et al. 2024: about 144 words), the rest is assumed: lengths spread
log-normally, 1.2 tokens a word as descriptions written by language models have, and a first
sentence of 20 tokens in the median. A tenth more or less in any of these moves the work of a step
by a few percent.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip.model.architectures import ARCHITECTURES
from longclip.model.config import CLIPConfig, TextConfig, TowerConfig, VisionConfig
from longclip.spec import BOS, EOT
from longclip.training.data import Batch

CONTEXT_LENGTH = 248
MEAN_WORDS, WORDS_SPREAD, TOKENS_PER_WORD = 144, 0.25, 1.2
FIRST_SENTENCE, FIRST_SENTENCE_SPREAD = 20, 0.35
"""Medians and means count tokens with begin and end of text; spreads are of the logarithm."""

PAPER_PAIRS, PAPER_EPOCHS = 1_000_000, 6


def shape(architecture: str, depth: int = 0) -> CLIPConfig:
    """A named architecture, with only `depth` layers in each tower unless 0."""
    config = ARCHITECTURES[architecture]
    assert config.vision
    assert config.text
    text = replace(config.text, max_position_embeddings=77)
    vision = config.vision
    if depth:
        vision = replace(vision, num_hidden_layers=min(depth, vision.num_hidden_layers))
        text = replace(text, num_hidden_layers=min(depth, text.num_hidden_layers))
    return replace(config, vision=vision, text=text)


def text_lengths(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of `count` long texts, and of their first sentences."""
    random = np.random.default_rng((seed, 0))
    median = MEAN_WORDS * math.exp(-(WORDS_SPREAD**2) / 2)
    words = median * np.exp(WORDS_SPREAD * random.standard_normal(count))
    long = np.rint(words * TOKENS_PER_WORD + 2).clip(4, CONTEXT_LENGTH).astype(np.int64)
    sentence = FIRST_SENTENCE * np.exp(FIRST_SENTENCE_SPREAD * random.standard_normal(count))
    return long, np.rint(sentence).clip(4, long).astype(np.int64)


def pictures(config: CLIPConfig, count: int) -> NDArray[np.uint8]:
    """Noise, uint8 [count, 3, H, W]."""
    assert config.vision
    size = config.vision.image_size
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), np.uint8)


def make_batch(pixels: NDArray[np.uint8], seed: int) -> Batch:
    """These pictures with texts of their own for each seed."""
    long_lengths, short_lengths = text_lengths(len(pixels), seed)
    random = np.random.default_rng((seed, 1))
    long, short = _ids(long_lengths, random), _ids(short_lengths, random)
    crops = np.tile(np.array([1, 0, 0], np.float32), (len(pixels), 1))
    return Batch(pixels=pixels, short=short, plain=short, long=long, crops=crops, bad=())


def _ids(lengths: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Token ids [N, longest]; how often each occurs falls with its rank, as words do (Zipf)."""
    ids = np.exp(random.uniform(0, math.log(BOS - 1), (len(lengths), int(lengths.max()))))
    found = ids.astype(np.int64)
    found[:, 0] = BOS
    found[np.arange(found.shape[1]) >= lengths[:, None] - 1] = EOT
    return found


def needed_flops(config: CLIPConfig, texts: NDArray[np.int64], images: int) -> float:
    """Return the operations that the forward pass of these cannot do without.

    A multiplication with its addition counts as two. Real tokens only; of causal attention the
    half that is seen; of each tower's last layer only what the embedding is read from (keys and
    values everywhere, the rest at one position). Matrix products and attention alone are counted,
    as is usual; the loss is less than a thousandth.

    Args:
        config: of both towers.
        texts: tokens of each text, long and short.
        images: how many.
    """
    vision, text, joint = _towers(config)
    patches = (vision.image_size // vision.patch_size) ** 2
    tokens = patches + 1
    image = 2 * patches * 3 * vision.patch_size**2 * vision.hidden_size
    image += (vision.num_hidden_layers - 1) * _layer(vision, tokens, tokens * tokens)
    image += _last_layer(vision, tokens) + 2 * vision.hidden_size * joint
    n = texts.astype(np.float64)
    each = (text.num_hidden_layers - 1) * _layer(text, n, n * (n + 1) / 2)
    each += _last_layer(text, n) + 2 * text.hidden_size * joint
    return images * image + float(np.sum(each))


def padded_flops(config: CLIPConfig, texts: int, images: int) -> float:
    """The same where all texts are padded and everything is computed everywhere."""
    vision, text, joint = _towers(config)
    patches = (vision.image_size // vision.patch_size) ** 2
    image = 2 * patches * 3 * vision.patch_size**2 * vision.hidden_size
    image += vision.num_hidden_layers * _layer(vision, patches + 1, (patches + 1) ** 2)
    image += 2 * vision.hidden_size * joint
    each = text.num_hidden_layers * _layer(text, CONTEXT_LENGTH, CONTEXT_LENGTH**2)
    each += 2 * text.hidden_size * joint
    return float(images * image + texts * each)


def step_flops(config: CLIPConfig, count: int, seed: int) -> float:
    """Return the arithmetic of a step with these pairs: a backward pass takes twice a forward pass.

    What is computed twice to save memory counts once, so a step that recomputes all of it cannot
    use more than three quarters of the hardware by this measure.
    """
    return 3 * needed_flops(config, np.concatenate(text_lengths(count, seed)), count)


def _towers(config: CLIPConfig) -> tuple[VisionConfig, TextConfig, int]:
    assert config.vision
    assert config.text
    assert config.projection_dim
    return config.vision, config.text, config.projection_dim


def _layer(tower: TowerConfig, tokens: Any, looks: Any) -> Any:
    """One layer at `tokens` positions whose queries see `looks` keys in all."""
    width, inner = tower.hidden_size, tower.intermediate_size
    return 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * looks * width


def _last_layer(tower: TowerConfig, tokens: Any) -> Any:
    """The last layer, read at one position."""
    width, inner = tower.hidden_size, tower.intermediate_size
    keys_and_values = 2 * tokens * 2 * width**2
    return keys_and_values + 4 * tokens * width + 2 * (2 * width**2 + 2 * width * inner)
