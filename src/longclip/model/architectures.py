"""Published shapes of CLIP by their names, and those that a configuration file describes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longclip.errors import CheckpointError, UsageError
from longclip.model.config import CLIPConfig, TextConfig, VisionConfig
from longclip.spec import Activation
from longclip.text.tokenizer_directory import TokenizerFiles


def _towers(
    vision: tuple[int, int, int],
    text: tuple[int, int, int],
    image: tuple[int, int],
    joint: int,
    vision_inner: int = 0,
    activation: Activation = "quick_gelu",
) -> CLIPConfig:
    """Return a shape from width, depth and heads of each tower.

    `image` is image size and patch size, `joint` the width of the joint space. The image tower's
    layers are four times as wide inside unless `vision_inner` says otherwise.
    """
    return CLIPConfig(
        vision=VisionConfig(
            hidden_size=vision[0],
            intermediate_size=vision_inner or 4 * vision[0],
            num_hidden_layers=vision[1],
            num_attention_heads=vision[2],
            hidden_act=activation,
            image_size=image[0],
            patch_size=image[1],
        ),
        text=TextConfig(
            hidden_size=text[0],
            intermediate_size=4 * text[0],
            num_hidden_layers=text[1],
            num_attention_heads=text[2],
            hidden_act=activation,
        ),
        projection_dim=joint,
    )


ARCHITECTURES: dict[str, CLIPConfig] = {
    # Small enough to come with the package: two thirds of nano's weights are the vocabulary.
    "nano": _towers((128, 4, 4), (128, 4, 4), (96, 12), 128),
    "small": _towers((192, 6, 3), (192, 4, 3), (112, 16), 192),
    "ViT-B/32": _towers((768, 12, 12), (512, 12, 8), (224, 32), 512),
    "ViT-B/16": _towers((768, 12, 12), (512, 12, 8), (224, 16), 512),
    "ViT-L/14": _towers((1024, 24, 16), (768, 12, 12), (224, 14), 768),
    "ViT-L/14-336": _towers((1024, 24, 16), (768, 12, 12), (336, 14), 768),
    # OpenCLIP's larger ones.
    "ViT-H/14": _towers((1280, 32, 16), (1024, 24, 16), (224, 14), 1024, 5120, "gelu"),
    "ViT-g/14": _towers((1408, 40, 16), (1024, 24, 16), (224, 14), 1024, 6144, "gelu"),
    "ViT-bigG/14": _towers((1664, 48, 16), (1280, 32, 20), (224, 14), 1280, 8192, "gelu"),
}


@dataclass(frozen=True)
class Architecture:
    """Shape of a model, and what lies beside its configuration."""

    config: CLIPConfig
    preprocess: Mapping[str, Any] | None = None
    """Content of a preprocessor_config.json; None where there is none."""
    tokenizer: TokenizerFiles | None = None
    """None where it is CLIP's."""


def architecture(name: str) -> CLIPConfig:
    """Return a named architecture, or the one that a config.json describes.

    Raises:
        UsageError, CheckpointError: as `read_architecture`.
    """
    return read_architecture(name).config


def read_architecture(name: str) -> Architecture:
    """Return a named architecture, or read one from the path of its configuration.

    Raises:
        UsageError: if there is no such name or file.
        CheckpointError: if the file does not describe a CLIP.
    """
    if name in ARCHITECTURES:
        return Architecture(ARCHITECTURES[name])
    path = Path(name)
    if path.is_file():
        # It loads torch, which whoever wants only a name of these need not wait for.
        from longclip.checkpoints import model_directory
        from longclip.checkpoints.formats import openclip

        try:
            is_openclip = path.name == openclip.CONFIG
            config, preprocess, tokenizer = (
                openclip.read_files(path.parent)
                if is_openclip
                else model_directory.read_files(path)
            )
            return Architecture(CLIPConfig.from_json(config), preprocess, tokenizer)
        except CheckpointError:
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(f"{path}: {error}") from error
    raise UsageError(
        f"no architecture {name!r}: neither one of {', '.join(ARCHITECTURES)} "
        "nor the path of a config.json"
    )
