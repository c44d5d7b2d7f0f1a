"""The shape of a CLIP, in the words of Hugging Face's `config.json`."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

from longclip.checkpoints.fields import FOREIGN_VISION, JOINT, TEXT, VISION, Rule, check_fields
from longclip.errors import UsageError
from longclip.spec import (
    BOS,
    EOT,
    STOCK_CONTEXT,
    Activation,
    ImageTowerOwner,
    Layout,
    Pooling,
)

# Hugging Face's own conversions of OpenAI's models say eos_token_id 2, a leftover that its code
# treats as "pool at the largest id"; with CLIP's vocabulary that is the end-of-text id.
_LEGACY_EOS = 2
_CLIP_VOCABULARY = EOT + 1


@dataclass(frozen=True)
class TowerConfig:
    """Shape of one transformer, as both towers have it."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: float = 1e-5

    section: ClassVar[str]
    rules: ClassVar[Mapping[str, Rule]]

    def __post_init__(self) -> None:
        check_fields(vars(self), self.rules, self.section)
        if self.hidden_size % self.num_attention_heads:
            raise UsageError(
                f"{self.section}: hidden_size {self.hidden_size} is not divisible by "
                f"num_attention_heads {self.num_attention_heads}; correct config.json"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the known keys of a config.json section; the rest does not change the network."""
        check_fields(values, cls.rules, cls.section)
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


@dataclass(frozen=True)
class TextConfig(TowerConfig):
    """Shape of the text tower; the defaults are those of ViT-B/32, as in transformers."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = STOCK_CONTEXT
    bos_token_id: int = BOS
    eos_token_id: int = EOT
    pad_token_id: int = EOT
    causal: bool = True
    """Whether a token sees only those before it."""
    pooling: Pooling = "eos"

    section = "text_config"
    rules = TEXT

    @property
    def reads_padding(self) -> bool:
        """Whether what stands behind a text changes its embedding.

        Such a model's texts must all be padded to its context length: that length is part of the
        function.
        """
        return not self.causal or self.pooling == "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eos_token_id >= self.vocab_size:
            raise UsageError(
                f"text_config: eos_token_id {self.eos_token_id} is outside the vocabulary of "
                f"{self.vocab_size} tokens (vocab_size), so no text would have an end"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read as the base class does, with the legacy end-of-text id put right."""
        # Only the end changes what is computed; without the other two there is nothing to check.
        unset = [name for name in ("bos_token_id", "pad_token_id") if values.get(name) is None]
        values = {name: value for name, value in values.items() if name not in unset}
        check_fields(values, cls.rules, cls.section)
        legacy = values.get("eos_token_id", _LEGACY_EOS) == _LEGACY_EOS
        if legacy and "pooling" not in values:
            vocabulary = values.get("vocab_size", cls.vocab_size)
            if vocabulary == _CLIP_VOCABULARY:
                values |= {"bos_token_id": BOS, "eos_token_id": EOT, "pad_token_id": EOT}
            else:
                # The largest id of a text need not be its end in another vocabulary, and what
                # fills it up must be smaller.
                values |= {"pooling": "argmax", "eos_token_id": vocabulary - 1}
                values["pad_token_id"] = min(values.get("pad_token_id", 0), vocabulary - 1)
        return super().from_json(values)

    def to_json(self) -> dict[str, Any]:
        """Return the section of config.json; of a stock CLIP, in transformers' words alone."""
        values = asdict(self)
        if self.causal:
            del values["causal"]
        if self.pooling == "eos":
            # Under any name but 2, transformers reads at the first of these.
            if self.eos_token_id != _LEGACY_EOS:
                del values["pooling"]
        elif self.pooling == "argmax" and self.causal:
            del values["pooling"]
            values["eos_token_id"] = _LEGACY_EOS
        return values


@dataclass(frozen=True)
class VisionConfig(TowerConfig):
    """Shape of the image tower; the defaults are those of ViT-B/32, as in transformers."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32

    section = "vision_config"
    rules = VISION

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % self.patch_size:
            raise UsageError(
                f"vision_config: image_size {self.image_size} is not a multiple of patch_size "
                f"{self.patch_size}"
            )

    @property
    def patches(self) -> int:
        """Tokens that the tower computes, its class token included."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def to_json(self) -> dict[str, Any]:
        """Return the section of config.json."""
        return {"num_channels": 3, **asdict(self)}


@dataclass(frozen=True)
class ForeignVisionConfig:
    """Image tower of another library, which makes it from a description of its own."""

    owner: ImageTowerOwner
    image_size: int
    patches: int
    """Tokens that it computes, about: what an image costs beside a text."""
    config: Mapping[str, Any]
    """What the library makes it from."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the section of a config.json."""
        check_fields(values, FOREIGN_VISION, "vision_config")
        return cls(**{f.name: values[f.name] for f in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """Return the section of config.json."""
        return asdict(self)


@dataclass(frozen=True)
class CLIPConfig:
    """Shape of two towers and what joins them, or of one tower alone."""

    text: TextConfig | None = field(default_factory=TextConfig)
    vision: VisionConfig | ForeignVisionConfig | None = field(default_factory=VisionConfig)
    projection_dim: int | None = 512
    """Width of the joint space; None for a lone tower that ends before its projection."""
    logit_scale_init_value: float = math.log(1 / 0.07)
    text_projection_bias: bool = False
    """DeCLIP's and SigLIP's text projections have a bias; a stock CLIP has no place for one."""
    text_projection: bool = True
    """Whether texts are projected into the joint space; in one of SigLIP's they are in it."""
    logit_bias: bool = False
    """Whether all similarities have a bias, as sigmoid losses train it (SigLIP)."""
    layout: Layout = "clip"
    """The layout that the model is saved in."""
    own: Mapping[str, Mapping[str, Any]] | None = None
    """The configuration files of that layout by their names, as they were read; None for clip's."""

    def __post_init__(self) -> None:
        check_fields(vars(self), JOINT)
        if self.text is None and self.vision is None:
            raise UsageError("config.json describes neither a text tower nor an image tower")
        if self.projection_dim is None and self.whole:
            raise UsageError("config.json has two towers and no projection_dim to join them")

    @property
    def whole(self) -> bool:
        """Return whether both towers are there."""
        return self.text is not None and self.vision is not None

    @property
    def embedding_dim(self) -> int:
        """Width D of embeddings."""
        tower = self.text or self.vision
        assert tower
        if self.projection_dim:
            return self.projection_dim
        assert not isinstance(tower, ForeignVisionConfig), "its owner makes features of the joint"
        return tower.hidden_size

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read Hugging Face's config.json of a CLIPModel, or of one tower alone.

        Raises:
            ValueError: if it describes something else or an impossible network.
        """
        sections = _sections(values)
        text, vision = (sections.get(name) for name in ("text_config", "vision_config"))
        whole = text is not None and vision is not None
        projection_dim = values.get("projection_dim", cls.projection_dim)
        if not whole and "WithProjection" not in str(values.get("architectures", "")):
            # A tower without projection has the number in its configuration all the same.
            projection_dim = None
        return cls(
            text=None if text is None else TextConfig.from_json(text),
            vision=None if vision is None else _vision_from_json(vision),
            projection_dim=projection_dim,
            logit_scale_init_value=values.get("logit_scale_init_value", cls.logit_scale_init_value),
            text_projection_bias=values.get("text_projection_bias", False),
            text_projection=values.get("text_projection", True),
            logit_bias=values.get("logit_bias", False),
            layout=values.get("layout", "clip"),
            own=values.get("own"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of config.json; where the layout is another's, in the same words.

        `max_length` repeats the context length because transformers 4 would otherwise report its
        text-generation default of 20, which some servers take for the input limit.
        """
        towers: dict[str, dict[str, Any]] = {}
        for kind, tower in (("text", self.text), ("vision", self.vision)):
            if tower:
                towers[f"{kind}_config"] = {
                    "model_type": f"clip_{kind}_model",
                    # Every tower's has the number, also one that ends before a projection.
                    "projection_dim": self.projection_dim or getattr(tower, "hidden_size", None),
                    **tower.to_json(),
                }
        if self.text:
            towers["text_config"]["max_length"] = self.text.max_position_embeddings
        unusual = {
            **({"text_projection_bias": True} if self.text_projection_bias else {}),
            **({} if self.text_projection else {"text_projection": False}),
            **({"layout": self.layout, "own": self.own} if self.layout != "clip" else {}),
        }
        if not self.whole:
            (section,) = towers.values()
            tower_name = "Text" if self.text else "Vision"
            projected = "" if self.projection_dim is None else "WithProjection"
            return {"architectures": [f"CLIP{tower_name}Model{projected}"], **section, **unusual}
        assert self.text
        return {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": self.projection_dim,
            "logit_scale_init_value": self.logit_scale_init_value,
            **({"logit_bias": True} if self.logit_bias else {}),
            **unusual,
            "max_length": self.text.max_position_embeddings,
            **towers,
        }


def _vision_from_json(values: Mapping[str, Any]) -> VisionConfig | ForeignVisionConfig:
    return (ForeignVisionConfig if "owner" in values else VisionConfig).from_json(values)


def _sections(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the towers of a config.json, by the name of their section in a CLIPModel's."""
    kind = values.get("model_type")
    if kind in ("clip_text_model", "clip_vision_model"):
        return {f"{kind.split('_')[1]}_config": values}
    for section in ("text_config", "vision_config"):
        if not isinstance(values.get(section), Mapping):
            raise UsageError(
                f"config.json has no {section!r}: it does not describe a CLIPModel "
                f"(model_type is {kind!r})"
            )
    return {name: values[name] for name in ("text_config", "vision_config")}
