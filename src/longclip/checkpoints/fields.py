"""Fields of configurations: the type and the bounds of each, in one table per kind of file.

A configuration comes from strangers, and what is built from it costs memory and time before any
tensor is compared with it. The bounds are wide: several times the largest CLIP that is published.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from longclip.errors import UsageError
from longclip.spec import MAX_CONTEXT, Activation, ImageTowerOwner, Layout, Pooling

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

_SIDES: Rule = (
    lambda value: (
        _PIXELS[0](value)
        or (
            isinstance(value, list | tuple)
            and len(value) == 2
            and value[0] == value[1]
            and _PIXELS[0](value[0])
        )
    ),
    f"a whole number from 1 to {MAX_IMAGE_SIZE}, or two alike",
)
_OBJECT: Rule = (lambda value: isinstance(value, Mapping), "an object")
_TIMM_NAME: Rule = (
    lambda value: (
        isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.]{1,100}", value) is not None
    ),
    "the name of a timm model",
)
_LAYERS_OR_STAGES: Rule = (
    lambda value: (
        _LAYERS[0](value)
        or (isinstance(value, list) and len(value) == 4 and all(map(_LAYERS[0], value)))
    ),
    f"a whole number from 1 to {MAX_LAYERS} or a list of four",
)
_ACT_OPTIONS: Rule = (
    lambda value: value in (None, {}, {"approximate": "tanh"}, {"approximate": "none"}),
    'null or {"approximate": "tanh"}',
)
_NORM_OPTIONS: Rule = (
    lambda value: (
        value is None
        or (
            isinstance(value, Mapping)
            and value.keys() <= {"eps"}
            and all(_is_number(eps, 1e-30, 1) for eps in value.values())
        )
    ),
    'null or {"eps": a number}',
)
_NO_CUSTOM_BLOCKS: dict[str, Rule] = {
    "block_type": _one_of(None, "default"),
    **dict.fromkeys(
        ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn"),
        _one_of(False),
    ),
    "scale_fc": _one_of(False),
}

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
    "causal": _SWITCH,
    "pooling": _one_of(*get_args(Pooling)),
}
"""Section text_config of a config.json, or the config.json of a lone text tower."""

VISION: dict[str, Rule] = {
    **_TOWER,
    "image_size": _PIXELS,
    "patch_size": _PIXELS,
    "num_channels": _one_of(3),
}
"""Section vision_config of a config.json, or the config.json of a lone image tower."""

# What a configuration may say beside the network: how it was trained, and by which program.
_HARMLESS = frozenset(
    [
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "add_cross_attention",
        "architectures",
        "attention_dropout",
        "attention_probs_dropout_prob",
        "auto_map",
        "bad_words_ids",
        "begin_suppress_tokens",
        "chunk_size_feed_forward",
        "cross_attention_hidden_size",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dropout",
        "dtype",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "id2label",
        "initializer_factor",
        "initializer_range",
        "is_decoder",
        "is_encoder_decoder",
        "label2id",
        "length_penalty",
        "max_length",
        "min_length",
        "model_type",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "prefix",
        "problem_type",
        "pruned_heads",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict",
        "return_dict_in_generate",
        "sep_token_id",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tie_encoder_decoder",
        "tie_word_embeddings",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "typical_p",
        "use_bfloat16",
        "use_cache",
    ]
)
"""Fields that any model of transformers may state; older versions repeated those of generating text
in every section."""

SIGLIP_TEXT: dict[str, Rule] = {
    **_TOWER,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": _CONTEXT,
    "projection_size": _or_nothing(_WIDTH),
    "bos_token_id": _or_nothing(_TOKEN),
    # Not read: texts are read at their last position.
    "eos_token_id": _or_nothing(_TOKEN),
    "pad_token_id": _TOKEN,
}
"""Section text_config of a SigLIP's config.json."""

SIGLIP_VISION: dict[str, Rule] = {
    **_TOWER,
    "image_size": _PIXELS,
    "patch_size": _PIXELS,
    "num_channels": _one_of(3),
    # Without the head there is no embedding of a picture.
    "vision_use_head": _one_of(True),
}
"""Section vision_config of a SigLIP's config.json."""

FOREIGN_VISION: dict[str, Rule] = {
    "owner": _one_of(*get_args(ImageTowerOwner)),
    "image_size": _PIXELS,
    "patches": _whole(1, MAX_IMAGE_SIZE**2),
    "config": (lambda value: isinstance(value, Mapping), "an object"),
}
"""Section vision_config of an image tower that another library computes."""

JOINT: dict[str, Rule] = {
    "projection_dim": _or_nothing(_WIDTH),
    "logit_scale_init_value": _number(-100, 100),
    "text_projection_bias": _SWITCH,
    "text_projection": _SWITCH,
    "logit_bias": _SWITCH,
    "layout": _one_of(*get_args(Layout)),
}
"""The other fields of a config.json."""

WHOLE: dict[str, Rule] = {
    **JOINT,
    "text_config": _OBJECT,
    "vision_config": _OBJECT,
    "text_config_dict": _or_nothing(_OBJECT),
    "vision_config_dict": _or_nothing(_OBJECT),
    "own": _OBJECT,
}
"""A config.json of two towers, and what one of one tower may repeat."""

PREPROCESSOR: dict[str, Rule] = {
    "size": _SIZE,
    "crop_size": _SIZE,
    "image_mean": _MEAN,
    "image_std": _DEVIATION,
    "rescale_factor": _number(0, 1000),
    "resample": _whole(0, 5),
    **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), _SWITCH),
    "do_convert_rgb": _or_nothing(_SWITCH),
    "image_processor_type": _or_nothing(_TEXT),
    "feature_extractor_type": _or_nothing(_TEXT),
}
"""A preprocessor_config.json."""

HOW_ARRAYS_COME = frozenset(
    [
        "_processor_class",
        "_valid_processor_keys",
        "data_format",
        "default_to_square",
        "device",
        "disable_grouping",
        "image_processor_class",
        "image_seq_length",
        "input_data_format",
        "processor_class",
        "return_tensors",
    ]
)
"""Other fields that it may state: how arrays are handed over, and which program wrote the file."""

OPENCLIP: dict[str, Rule] = {
    "embed_dim": _WIDTH,
    "quick_gelu": _or_nothing(_SWITCH),
    "custom_text": _or_nothing(_SWITCH),
    "init_logit_scale": _or_nothing(_number(-100, 100)),
    "init_logit_bias": _or_nothing(_number(-1000, 1000)),
    "nonscalar_logit_scale": _or_nothing(_SWITCH),
    "output_dict": _or_nothing(_SWITCH),
    "text_cfg": _OBJECT,
    "vision_cfg": _OBJECT,
}
"""The part model_cfg of an open_clip_config.json, but for its two sections."""

OPENCLIP_TEXT: dict[str, Rule] = {
    "context_length": _CONTEXT,
    "vocab_size": _VOCABULARY,
    "width": _WIDTH,
    "heads": _WIDTH,
    "layers": _LAYERS,
    "mlp_ratio": _RATIO,
    "hf_tokenizer_name": _or_nothing(_TEXT),
    "tokenizer_mode": _one_of(None, ""),
    "tokenizer_kwargs": _or_nothing(_OBJECT),
    "pad_id": _TOKEN,
    "eos_id": _TOKEN,
    "no_causal_mask": _SWITCH,
    "pool_type": _one_of("first", "last", "argmax", "eos"),
    "proj_type": _one_of("linear", "none"),
    "proj_bias": _SWITCH,
    "act_kwargs": _ACT_OPTIONS,
    "norm_kwargs": _NORM_OPTIONS,
    # Read by no text tower.
    "final_ln_after_pool": _SWITCH,
    # What a text tower of ours does not compute: layer scale, a class token of its own (CoCa).
    "ls_init_value": _one_of(None),
    "embed_cls": _one_of(False),
    "output_tokens": _one_of(False),
    **_NO_CUSTOM_BLOCKS,
}
"""Section text_cfg of an open_clip_config.json."""

OPENCLIP_VISION: dict[str, Rule] = {
    "image_size": _PIXELS,
    "layers": _LAYERS,
    "width": _WIDTH,
    "head_width": _WIDTH,
    "mlp_ratio": _RATIO,
    "patch_size": _PIXELS,
    # Of training alone.
    "patch_dropout": _number(0, 1),
    "timm_drop": _number(0, 1),
    "timm_drop_path": _or_nothing(_number(0, 1)),
    "timm_model_pretrained": _SWITCH,
    "output_tokens": _one_of(False),
    "pool_type": _one_of("tok"),
    "pos_embed_type": _one_of("learnable"),
    "act_kwargs": _one_of(None),
    "norm_kwargs": _one_of(None),
    "ls_init_value": _one_of(None),
    **dict.fromkeys(("attentional_pool", "no_ln_pre", "final_ln_after_pool"), _one_of(False)),
    **_NO_CUSTOM_BLOCKS,
}
"""Section vision_cfg of an open_clip_config.json whose image tower is CLIP's ViT."""

OPENCLIP_FOREIGN_VISION: dict[str, Rule] = {
    "image_size": _PIXELS,
    "layers": _LAYERS_OR_STAGES,
    "width": _WIDTH,
    "head_width": _WIDTH,
    "mlp_ratio": _RATIO,
    "patch_size": _or_nothing(_PIXELS),
    "patch_dropout": _number(0, 1),
    "timm_model_name": _or_nothing(_TIMM_NAME),
    "timm_model_pretrained": _SWITCH,
    "timm_pool": _one_of("", "avg", "abs_attn", "rot_attn", "token", "map", "max", "avgmax"),
    "timm_proj": _one_of(None, "", "linear", "mlp", "none"),
    "timm_proj_bias": _SWITCH,
    "timm_drop": _number(0, 1),
    "timm_drop_path": _or_nothing(_number(0, 1)),
    "ls_init_value": _or_nothing(_number(0, 1000)),
    "pool_type": _one_of("tok", "avg"),
    "pos_embed_type": _one_of("learnable", "sin_cos_2d"),
    "act_kwargs": _ACT_OPTIONS,
    "norm_kwargs": _NORM_OPTIONS,
    "output_tokens": _one_of(False),
    "attentional_pool": _one_of(False),
    **dict.fromkeys(("no_ln_pre", "final_ln_after_pool"), _SWITCH),
    **_NO_CUSTOM_BLOCKS,
}
"""Section vision_cfg of an open_clip_config.json."""

OPENCLIP_PREPROCESS: dict[str, Rule] = {
    "size": _SIDES,
    "mode": _one_of("RGB"),
    "mean": _MEAN,
    "std": _DEVIATION,
    "interpolation": _one_of("bicubic", "bilinear"),
    "resize_mode": _one_of("shortest", "squash"),
    # Fills what resizing by the longest side leaves; these two modes leave nothing.
    "fill_color": _number(0, 255),
}
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


def refuse_other_fields(
    values: Mapping[str, Any], rules: Mapping[str, Rule], section: str = ""
) -> None:
    """Refuse what is neither in the rules nor without effect on what is computed.

    Raises:
        UsageError: names the first field.
    """
    for name, value in values.items():
        if name not in rules and name not in _HARMLESS and value is not None:
            raise UsageError(
                f"{section and section + ': '}{name} is {value!r:.60}, which this version does not "
                "know and will not ignore; take the field out if it changes nothing"
            )
