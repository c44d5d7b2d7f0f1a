"""The shape of a CLIP, in the words of Hugging Face's `config.json`."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

ACTIVATIONS = ("quick_gelu", "gelu")

# Hugging Face's own conversions of OpenAI's models say eos_token_id 2, a leftover that its code
# treats as "pool at the largest id"; with CLIP's vocabulary that is the end-of-text id.
_LEGACY_EOS = 2


@dataclass(frozen=True)
class TowerConfig:
    """What both transformers have."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads "
                f"{self.num_attention_heads}; correct config.json"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act {self.hidden_act!r} is not one of {', '.join(ACTIVATIONS)}, "
                "the activations CLIP models use"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Take the known keys of a config.json section; the rest does not change the network."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


@dataclass(frozen=True)
class TextConfig(TowerConfig):
    """The text tower; the defaults are those of ViT-B/32, as in transformers."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    bos_token_id: int = 49406
    eos_token_id: int = 49407
    pad_token_id: int = 49407

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """As the base class, with the legacy end-of-text id put right."""
        values = dict(values)
        if values.get("eos_token_id", _LEGACY_EOS) == _LEGACY_EOS:
            eos = int(values.get("vocab_size", cls.vocab_size)) - 1
            values |= {"bos_token_id": eos - 1, "eos_token_id": eos, "pad_token_id": eos}
        return super().from_json(values)


@dataclass(frozen=True)
class VisionConfig(TowerConfig):
    """The image tower; the defaults are those of ViT-B/32, as in transformers."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )


@dataclass(frozen=True)
class CLIPConfig:
    """Two towers and what joins them."""

    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    projection_dim: int = 512
    logit_scale_init_value: float = math.log(1 / 0.07)
    text_projection_bias: bool = False
    """DeCLIP's text projection has a bias; a stock CLIP has no place for one."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read Hugging Face's config.json of a CLIPModel.

        Raises:
            ValueError: if a section is missing or describes an impossible network.
        """
        for section in ("text_config", "vision_config"):
            if not isinstance(values.get(section), Mapping):
                raise ValueError(
                    f"config.json has no {section!r}: it does not describe a CLIPModel "
                    f"(model_type is {values.get('model_type')!r})"
                )
        return cls(
            text=TextConfig.from_json(values["text_config"]),
            vision=VisionConfig.from_json(values["vision_config"]),
            projection_dim=int(values.get("projection_dim", cls.projection_dim)),
            logit_scale_init_value=float(
                values.get("logit_scale_init_value", cls.logit_scale_init_value)
            ),
            text_projection_bias=bool(values.get("text_projection_bias", False)),
        )

    def to_json(self) -> dict[str, Any]:
        """The content of config.json.

        `max_length` repeats the context length because transformers 4 would otherwise report its
        text-generation default of 20, which some servers take for the input limit.
        """
        return {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": self.projection_dim,
            "logit_scale_init_value": self.logit_scale_init_value,
            **({"text_projection_bias": True} if self.text_projection_bias else {}),
            "max_length": self.text.max_position_embeddings,
            "text_config": {
                "model_type": "clip_text_model",
                "projection_dim": self.projection_dim,
                **asdict(self.text),
                "max_length": self.text.max_position_embeddings,
            },
            "vision_config": {
                "model_type": "clip_vision_model",
                "projection_dim": self.projection_dim,
                "num_channels": 3,
                **asdict(self.vision),
            },
        }
