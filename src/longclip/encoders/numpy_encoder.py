"""A CLIP of ours computed by NumPy, from the files of its own weights: for a search from the shell.

Importing torch takes longer than embedding one text. Here is what a query needs: texts of all kinds
that `TextConfig` describes, and pictures of CLIP's ViT, a few at a time. Weights stay in the mapped
file; of the vocabulary only the rows of the text's own tokens are read.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longclip import __version__
from longclip.checkpoints.formats import siglip
from longclip.checkpoints.mapped_tensors import MappedTensor, map_safetensors
from longclip.checkpoints.model_directory import CONFIG, weight_files
from longclip.checkpoints.model_names import BUNDLED, cached_snapshot, full_name, is_hub_id
from longclip.encoders.array_encoder import ArrayEncoder
from longclip.encoders.model_encoder import Vectors
from longclip.encoders.model_settings import read_huggingface_settings
from longclip.errors import CheckpointError, UsageError
from longclip.model.config import ForeignVisionConfig, TowerConfig
from longclip.model.digest import digest, embedding_settings, noted_digest
from longclip.spec import Activation

_POSITION_IDS = ".embeddings.position_ids"


class NumpyEncoder(ArrayEncoder):
    """A model directory with safetensors files, in float32.

    Args:
        directory: in Hugging Face's layout.
        name: what errors call it.

    Raises:
        CheckpointError: if it is no such directory.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._files = weight_files(directory)
        if any(file.suffix != ".safetensors" for file in self._files):
            raise CheckpointError(f"{directory} has no safetensors files")
        super().__init__(name, read_huggingface_settings(directory))
        self._tensors: Mapping[str, MappedTensor] = {
            name: tensor
            for file in self._files
            for name, tensor in map_safetensors(file).items()
            if not f".{name}".endswith(_POSITION_IDS)
        }
        if self.config.layout == siglip.LAYOUT:
            self._tensors = siglip.to_internal(self._tensors)
        self._arrays: dict[str, NDArray[np.float32]] = {}

    @property
    def engine(self) -> str:
        """NumPy, which has matrix products of float32 alone that are fast."""
        return "numpy, float32"

    @cached_property
    def digest(self) -> str:
        """Hash by which a database knows the model, noted for files that do not change."""
        settings = embedding_settings(self.config, self.preprocess, self.settings.tokenizer_files)
        weights = ((n, t.shape, t.bfloat16()) for n, t in sorted(self._tensors.items()))
        return noted_digest(settings, self._files, lambda: digest(settings, weights))

    @property
    def fingerprint(self) -> str:
        """Hash of all that changes a digit of an embedding."""
        stated = f"{self.engine} {np.__version__} longclip {__version__} {self.digest}"
        return hashlib.sha256(stated.encode()).hexdigest()

    def embed_ids(self, ids: Sequence[Sequence[int]]) -> Vectors:
        """Embed the ids of texts."""
        config = self.config.text
        if config is None:
            raise UsageError(f"{self.name} is an image tower alone")
        self.check_ids(ids)
        texts = [np.asarray(text, np.int64) for text in ids]
        if not texts:
            return np.empty((0, self.embedding_dim), np.float32)
        if config.reads_padding:
            length, pad = config.max_position_embeddings, config.pad_token_id
            texts = [np.pad(x, (0, length - len(x)), constant_values=pad) for x in texts]
        kind, end = config.pooling, config.eos_token_id
        reading: Callable[[NDArray[np.int64]], int] = {
            "eos": lambda text: int((text == end).argmax()),
            "argmax": lambda text: int(text.argmax()),
            "last": lambda text: len(text) - 1,
            "first": lambda text: 0,
        }[kind]
        places = [reading(text) for text in texts]
        if not config.reads_padding:  # what stands behind that place is not seen from there
            texts = [text[: place + 1] for text, place in zip(texts, places, strict=True)]
        used, tokens = np.unique(np.concatenate(texts), return_inverse=True)
        words = self._tensors["text_model.embeddings.token_embedding.weight"].rows(used)
        positions = self._array("text_model.embeddings.position_embedding.weight")
        x_TD = words[tokens] + np.concatenate([positions[: len(text)] for text in texts])
        lengths = [len(text) for text in texts]
        x_ND = self._layers("text_model", config, x_TD, lengths, places, causal=config.causal)
        x_ND = self._norm(x_ND, "text_model.final_layer_norm", config.layer_norm_eps)
        return self.finite(self._projected(x_ND, "text_projection"))

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed preprocessed pictures."""
        config = self.config.vision
        if config is None or isinstance(config, ForeignVisionConfig):
            raise UsageError(f"{self.name}: NumPy computes pictures of CLIP's ViT alone")
        count, size, grid = len(pixels), config.patch_size, config.image_size // config.patch_size
        x = self.normalized(pixels)
        # A patch's numbers in the order of the kernel: channel, y, x.
        patches = x.reshape(count, grid, size, grid, size, 3).transpose(0, 1, 3, 5, 2, 4)
        name = "vision_model.embeddings"
        kernel = self._array(f"{name}.patch_embedding.weight").reshape(config.hidden_size, -1)
        x = patches.reshape(count, grid * grid, -1) @ kernel.T
        first = np.broadcast_to(self._array(f"{name}.class_embedding"), (count, 1, x.shape[2]))
        x = np.concatenate([first, x], axis=1) + self._array(f"{name}.position_embedding.weight")
        x_TD = x.reshape(-1, config.hidden_size)
        x_TD = self._norm(x_TD, "vision_model.pre_layrnorm", config.layer_norm_eps)
        lengths, places = [config.patches] * count, [0] * count
        x_ND = self._layers("vision_model", config, x_TD, lengths, places, causal=False)
        x_ND = self._norm(x_ND, "vision_model.post_layernorm", config.layer_norm_eps)
        return self.finite(self._projected(x_ND, "visual_projection"))

    def _layers(
        self,
        tower: str,
        config: TowerConfig,
        x_TD: NDArray[np.float32],
        lengths: Sequence[int],
        places: Sequence[int],
        *,
        causal: bool,
    ) -> NDArray[np.float32]:
        """Apply all layers to inputs that lie one after the other → [N, D], each at its place."""
        starts = np.concatenate([[0], np.cumsum(lengths)])
        activation, eps = _ACTIVATIONS[config.hidden_act], config.layer_norm_eps
        for number in range(config.num_hidden_layers):
            layer = f"{tower}.encoder.layers.{number}"
            h = self._norm(x_TD, f"{layer}.layer_norm1", eps)
            query, key, value = (
                self._linear(h, f"{layer}.self_attn.{name}_proj").reshape(
                    len(h), config.num_attention_heads, -1
                )
                for name in "qkv"
            )
            spans = [slice(start, end) for start, end in pairwise(starts)]
            mixed = [_attend(query[s], key[s], value[s], causal=causal) for s in spans]
            x_TD = x_TD + self._linear(np.concatenate(mixed), f"{layer}.self_attn.out_proj")
            if number == config.num_hidden_layers - 1:
                x_TD = x_TD[starts[:-1] + np.asarray(places)]
            h = self._norm(x_TD, f"{layer}.layer_norm2", eps)
            h = activation(self._linear(h, f"{layer}.mlp.fc1"))
            x_TD = x_TD + self._linear(h, f"{layer}.mlp.fc2")
        return x_TD

    def _array(self, name: str) -> NDArray[np.float32]:
        if name not in self._arrays:
            self._arrays[name] = self._tensors[name].rows()
        return self._arrays[name]

    def _linear(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        product: NDArray[np.float32] = x @ self._array(f"{name}.weight").T
        return product + self._array(f"{name}.bias") if f"{name}.bias" in self._tensors else product

    def _projected(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        return self._linear(x, name) if f"{name}.weight" in self._tensors else x

    def _norm(self, x: NDArray[np.float32], name: str, eps: float) -> NDArray[np.float32]:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(eps))
        scaled: NDArray[np.float32] = centred / deviation * self._array(f"{name}.weight")
        return scaled + self._array(f"{name}.bias")


def _attend(
    query: NDArray[np.float32],
    key: NDArray[np.float32],
    value: NDArray[np.float32],
    *,
    causal: bool,
) -> NDArray[np.float32]:
    """Compute attention within one input, all arrays [length, heads, head width] → [length, D]."""
    length, _, width = query.shape
    scores = query.transpose(1, 0, 2) @ key.transpose(1, 2, 0) * np.float32(width**-0.5)
    if causal:
        scores = np.where(np.tri(length, dtype=bool), scores, np.float32(-np.inf))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed: NDArray[np.float32] = (weights @ value.transpose(1, 0, 2)).transpose(1, 0, 2)
    return mixed.reshape(length, -1)


def _quick_gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # far below zero, where it is zero
        activated: NDArray[np.float32] = x / (1 + np.exp(np.float32(-1.702) * x))
        return activated


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute x·Φ(x), with the error function of Abramowitz and Stegun 7.1.26, exact to 1.5e-7."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(factor)) * t
    tail = np.float32(0.5) * series * np.exp(-z * z)  # Φ(−|x|)
    activated: NDArray[np.float32] = x * np.where(x < 0, tail, 1 - tail)
    return activated


def _gelu_tanh(x: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
    activated: NDArray[np.float32] = np.float32(0.5) * x * (1 + np.tanh(inner))
    return activated


_ACTIVATIONS: dict[Activation, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
}


def find_numpy_encoder(source: str, wanted: str, *, images: bool) -> NumpyEncoder | None:
    """Open a model that is on this machine and has a digest; None where NumPy cannot read it.

    None is also what a model that cannot be opened at all gives: whoever opens it otherwise then
    says why. The digest stands for the comparison of names and shapes with the configuration,
    which was made when it was computed of the same weights.

    Args:
        source: as `longclip.load`; of a model on the hub, what is in the hub's cache.
        wanted: the digest.
        images: whether pictures will be embedded, too.
    """
    try:
        source = full_name(source)
        directory: Path | None = Path(source)
        if source in BUNDLED:
            directory = Path(str(resources.files("longclip") / "models" / source))
        elif not os.path.exists(source) and is_hub_id(source):
            directory = cached_snapshot(source)
        if directory is None or not (directory / CONFIG).is_file():
            return None
        encoder = NumpyEncoder(directory, source)
        if images and isinstance(encoder.config.vision, ForeignVisionConfig):
            return None
        encoder.check_tokenizer()
        return encoder if encoder.digest == wanted else None
    except (CheckpointError, UsageError, OSError, KeyError, TypeError, ValueError):
        return None
