"""Checkpoints: in memory under Hugging Face's names, and as paths of a format not yet known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from longclip.checkpoints.config import adopt_config, has_shapes
from longclip.checkpoints.tensor_files import read_values
from longclip.checkpoints.wrappings import unwrap
from longclip.errors import CheckpointError, UsageError
from longclip.spec import STOCK_CONTEXT, Activation, Tower
from longclip.text.tokenizer_directory import TokenizerFiles

# Of transformers, for a config.json that does not say it.
_DEFAULT_PROJECTION_DIM = 512
_OF_BOTH = ("text_projection_bias", "text_projection", "layout")
_SECTIONS = {"text": "text", "image": "vision"}
_PROJECTIONS = {"text": "text_projection.", "image": "visual_projection."}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Configuration, tensors and origin of a CLIP or of one of its towers.

    Attributes:
        path: of the file or directory.
        files: that the weights were read from.
        format: name of its layout: Hugging Face, OpenAI, Long-CLIP, OpenCLIP or DeCLIP.
        config: in the words of Hugging Face's config.json.
        tensors: under Hugging Face's names, mapped into memory from the file where it allows that.
        preprocess: content of preprocessor_config.json, where the checkpoint has preprocessing.
        notes: sentences on what was changed or left out in reading.
        tokenizer: files of the model's own tokenizer; None where it is CLIP's.
        extras: tensors that the model does not use but an audit may want, by their own names.
        config_file: that the configuration was read from; None where it was inferred from shapes.
        assumed: what no file says and was guessed, as a sentence; empty where nothing was.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    preprocess: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    tokenizer: TokenizerFiles | None = None
    config_file: Path | None = None
    assumed: str = ""

    def has(self, tower: Tower) -> bool:
        """Return whether there is a tower of that kind."""
        return any(name.startswith(f"{_SECTIONS[tower]}_model.") for name in self.tensors)


def lone_tower(checkpoint: Checkpoint, tower: Tower) -> Checkpoint:
    """Return one tower with its projection, as the model of its own that transformers too knows.

    The other tower's weights are left in the file.

    Raises:
        UsageError: if no model has such a tower.
        CheckpointError: if this one has not.
    """
    if tower not in _SECTIONS:
        raise UsageError(f"tower {tower!r} is none of {', '.join(_SECTIONS)}")
    if not checkpoint.has(tower):
        raise CheckpointError(f"{checkpoint.path} has no {tower} tower")
    name, config = _SECTIONS[tower], checkpoint.config
    if f"{name}_config" not in config:
        return checkpoint
    prefixes = (f"{name}_model.", _PROJECTIONS[tower])
    return replace(
        checkpoint,
        config=lone_config(config, tower),
        tensors={n: t for n, t in checkpoint.tensors.items() if n.startswith(prefixes)},
        preprocess=checkpoint.preprocess if tower == "image" else None,
    )


def lone_config(config: Mapping[str, Any], tower: Tower) -> dict[str, Any]:
    """Return what a configuration of two towers says of one, as that of a model of its own."""
    name = _SECTIONS[tower]
    alone: dict[str, Any] = {
        **{key: value for key, value in config[f"{name}_config"].items() if key != "architectures"},
        **{key: config[key] for key in _OF_BOTH if key in config},
        "architectures": [f"CLIP{name.capitalize()}ModelWithProjection"],
        "model_type": f"clip_{name}_model",
        "projection_dim": config.get("projection_dim", _DEFAULT_PROJECTION_DIM),
    }
    if config.get("layout") == "metaclip_2":
        # The only family but CLIP whose lone towers transformers knows too.
        whole = config["own"]["config.json"]
        own = {
            **(whole.get(f"{name}_config") or {}),
            "architectures": [f"MetaClip2{name.capitalize()}ModelWithProjection"],
            "model_type": f"metaclip_2_{name}_model",
            "projection_dim": alone["projection_dim"],
        }
        alone["own"] = {"config.json": own}
    if tower == "text":
        alone["max_length"] = alone.get("max_position_embeddings", STOCK_CONTEXT)
    return alone


class Source:
    """A path, what lies there, and what the caller knows about it.

    Args:
        path: a file or a directory.
        activation: activation of the towers, where the caller names it.
        part: which of several text towers in one file.
    """

    def __init__(
        self, path: Path, activation: Activation | None = None, part: str | None = None
    ) -> None:
        self.path = path
        self.activation = activation
        self.part = part

    @property
    def folder(self) -> Path:
        """Directory in which configurations lie: the path, or that of the file."""
        return self.path if self.path.is_dir() else self.path.parent

    def has_file(self, *names: str) -> bool:
        """Return whether the path is a directory with a file of one of these names."""
        return any((self.path / name).is_file() for name in names)

    @cached_property
    def _unwrapped(self) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
        if self.path.is_dir():
            return {}, ()
        return unwrap(self.path, read_values(self.path), self.part)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensors of the file under its own names, mapped into memory; none of a directory.

        Raises:
            CheckpointError: if the file is broken or holds no tensors.
        """
        return self._unwrapped[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was around the tensors of the file and was taken away."""
        return self._unwrapped[1]

    def refuse_activation(self) -> None:
        """Refuse the caller's activation where a configuration says it.

        Raises:
            CheckpointError: if the caller named one.
        """
        if self.activation:
            raise CheckpointError(
                f"{self.path} says its activation in its configuration; leave out --activation, "
                "which is for files of bare weights"
            )

    def with_config(
        self,
        bare: Checkpoint,
        name: str,
        described: Mapping[str, Any],
        read: Callable[
            [], tuple[Mapping[str, Any], Mapping[str, Any] | None, TokenizerFiles | None]
        ],
    ) -> Checkpoint:
        """Return bare weights with the configuration beside them, if it is of the same shapes.

        Args:
            bare: the weights, with what their shapes show.
            name: of the configuration's file.
            described: the sizes that it states, in the words of Hugging Face's config.json.
            read: returns the whole of it in these words, the preprocessing beside it, and the
                tokenizer where that is not CLIP's; called where it fits.

        Raises:
            CheckpointError: as `refuse_activation` and `read`, where it fits.
        """
        if not has_shapes(described, bare.config):
            note = f"{name} beside it describes another model and was left aside"
            return replace(bare, notes=(*bare.notes, note))
        self.refuse_activation()
        config, preprocess, tokenizer = read()
        alone: Tower | None = None
        if not (bare.has("text") and bare.has("image")):
            alone = "text" if bare.has("text") else "image"
            if "text_config" in config:
                config = lone_config(config, alone)
        return replace(
            bare,
            config=adopt_config(bare.config, config),
            preprocess=preprocess,
            notes=(*bare.notes, f"{name} beside it was read"),
            config_file=self.folder / name,
            tokenizer=tokenizer if alone != "image" else None,
            assumed="",
        )

    @property
    def usual_activation(self) -> Activation:
        """GELU, which OpenCLIP trains with, unless the file's name is that of an OpenAI model."""
        # Nothing in a file shows it. OpenCLIP's names of OpenAI's weights have one of these words.
        name = self.path.name.lower()
        return "quick_gelu" if "quickgelu" in name or "openai" in name else "gelu"

    def settle_activation(self, guess: Activation) -> tuple[Activation, str]:
        """Return the caller's activation, or `guess` with a sentence that says so."""
        if self.activation:
            return self.activation, ""
        return guess, (
            f"the activation is not in the file; {guess} was assumed, with heads of the usual "
            "width and an eps of 1e-5, since no configuration of it lies beside it; --activation "
            "decides otherwise"
        )
