"""Fields of configurations: the type and the bounds of each, in one table per kind of file.

A configuration comes from strangers, and what is built from it costs memory and time before any
tensor is compared with it. The bounds are wide: several times the largest CLIP that is published.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from longclip.errors import UsageError
from longclip.spec import MAX_CONTEXT, Activation

MAX_LAYERS = 256
"""Layers of a tower; ViT-bigG's image tower has 48."""

MAX_WIDTH = 65_536
"""Channels of a tower, inside its layers as well; ViT-bigG's layers are 8,192 wide inside."""

MAX_VOCABULARY = 2_000_000
"""Tokens of a vocabulary; the largest text towers beside CLIPs have 901,629."""

MAX_IMAGE_SIZE = 4096
"""Pixels of a side of the square that an image tower sees; 512 is rare."""

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and what is allowed in words that follow "is not"."""


def _whole(least: int, most: int) -> Rule:
    # Neither True, which is an int too, nor 4.0.
    return lambda value: type(value) is int and least <= value <= most, (
        f"a whole number from {least} to {most}"
    )


def _is_number(value: object, least: float, most: float) -> bool:
    # NaN is in no bounds.
    return type(value) in (int, float) and least <= value <= most  # type: ignore[operator]


def _number(least: float, most: float) -> Rule:
    return lambda value: _is_number(value, least, most), f"a number from {least:g} to {most:g}"


def _three_numbers(least: float, most: float) -> Rule:
    return (
        lambda value: (
            isinstance(value, list | tuple)
            and len(value) == 3
            and all(_is_number(channel, least, most) for channel in value)
        ),
        f"a list of three numbers (R, G, B) from {least:g} to {most:g}",
    )


def _one_of(*values: object) -> Rule:
    return lambda value: type(value) in map(type, values) and value in values, (
        f"one of {', '.join(map(str, values))}"
    )


def _or_nothing(rule: Rule) -> Rule:
    return lambda value: value is None or rule[0](value), f"{rule[1]} or null"


_SWITCH: Rule = (lambda value: isinstance(value, bool), "true or false")
_TEXT: Rule = (lambda value: isinstance(value, str), "a text")
_SIZE: Rule = (
    lambda value: (
        _whole(1, MAX_IMAGE_SIZE)[0](value)
        or (
            isinstance(value, Mapping)
            and all(_whole(1, MAX_IMAGE_SIZE)[0](side) for side in value.values())
        )
    ),
    f"a whole number from 1 to {MAX_IMAGE_SIZE} or an object of such numbers",
)
_WIDTH, _LAYERS = _whole(1, MAX_WIDTH), _whole(1, MAX_LAYERS)
_TOKEN = _whole(0, MAX_VOCABULARY - 1)
_CONTEXT, _VOCABULARY = _whole(3, MAX_CONTEXT), _whole(3, MAX_VOCABULARY)
_PIXELS = _whole(1, MAX_IMAGE_SIZE)
_MEAN, _DEVIATION = _three_numbers(-1000, 1000), _three_numbers(1e-6, 1000)
_RATIO = _number(1 / 64, 64)

_TOWER: dict[str, Rule] = {
    "hidden_size": _WIDTH,
    "intermediate_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _WIDTH,
    "hidden_act": _one_of(*get_args(Activation)),
    # With 0 a constant vector would be divided by 0.
    "layer_norm_eps": _number(1e-30, 1),
}
TEXT: dict[str, Rule] = {
    **_TOWER,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": _CONTEXT,
    "bos_token_id": _TOKEN,
    "eos_token_id": _TOKEN,
    "pad_token_id": _TOKEN,
}
"""Section text_config of a config.json, or the config.json of a lone text tower."""

VISION: dict[str, Rule] = {
    **_TOWER,
    "image_size": _PIXELS,
    "patch_size": _PIXELS,
    "num_channels": _one_of(3),
}
"""Section vision_config of a config.json, or the config.json of a lone image tower."""

JOINT: dict[str, Rule] = {
    "projection_dim": _or_nothing(_WIDTH),
    "logit_scale_init_value": _number(-100, 100),
    "text_projection_bias": _SWITCH,
}
"""The other fields of a config.json."""

PREPROCESSOR: dict[str, Rule] = {
    "size": _SIZE,
    "crop_size": _SIZE,
    "image_mean": _MEAN,
    "image_std": _DEVIATION,
    "rescale_factor": _number(0, 1000),
    "resample": _whole(0, 5),
    **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), _SWITCH),
    "do_convert_rgb": _or_nothing(_SWITCH),
}
"""A preprocessor_config.json."""

OPENCLIP: dict[str, Rule] = {
    "embed_dim": _WIDTH,
    "quick_gelu": _or_nothing(_SWITCH),
}
"""The part model_cfg of an open_clip_config.json, but for its two sections."""

OPENCLIP_TEXT: dict[str, Rule] = {
    "context_length": _CONTEXT,
    "vocab_size": _VOCABULARY,
    "width": _WIDTH,
    "heads": _WIDTH,
    "layers": _LAYERS,
    "mlp_ratio": _RATIO,
    "hf_model_name": _or_nothing(_TEXT),
}
"""Section text_cfg of an open_clip_config.json."""

OPENCLIP_VISION: dict[str, Rule] = {
    "image_size": _PIXELS,
    "layers": _LAYERS,
    "width": _WIDTH,
    "head_width": _WIDTH,
    "mlp_ratio": _RATIO,
    "patch_size": _PIXELS,
}
"""Section vision_cfg of an open_clip_config.json."""

OPENCLIP_PREPROCESS: dict[str, Rule] = {"mean": _MEAN, "std": _DEVIATION}
"""The part preprocess_cfg of an open_clip_config.json."""


def check_fields(values: Mapping[str, Any], rules: Mapping[str, Rule], section: str = "") -> None:
    """Check those of the fields that are there; fields without a rule change no network.

    Args:
        values: an object of a configuration.
        rules: one of the tables above.
        section: the name of that object in its file, if it is not the whole of it.

    Raises:
        UsageError: names the first field that is wrong, and what is allowed.
    """
    for name, (allows, allowed) in rules.items():
        if name in values and not allows(values[name]):
            shown = repr(values[name])
            shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
            raise UsageError(f"{section and section + ': '}{name} {shown} is not {allowed}")
