"""Settings of a model from the files beside its weights, whatever the weights are kept in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longclip.checkpoints.model_directory import CONFIG, make_preprocess, read_files
from longclip.errors import CheckpointError
from longclip.image.preprocess import Preprocess
from longclip.model.architectures import read_architecture
from longclip.model.config import CLIPConfig
from longclip.text.tokenizer_directory import TokenizerFiles

_OPENCLIP_CONFIG = "open_clip_config.json"


@dataclass(frozen=True)
class ModelSettings:
    """What embeddings depend on beside weights.

    Attributes:
        config: the shape of the towers.
        preprocess: how pictures become pixels.
        tokenizer_files: of the model's own tokenizer; None where it is CLIP's.
    """

    config: CLIPConfig
    preprocess: Preprocess
    tokenizer_files: TokenizerFiles | None


def read_settings(folder: Path) -> ModelSettings:
    """Read the configuration, preprocessing and tokenizer of a model directory.

    It is in Hugging Face's layout, or OpenCLIP's, whose own configuration goes before.

    Raises:
        CheckpointError: if one is missing, broken or not of a CLIP.
    """
    path = folder / _OPENCLIP_CONFIG
    if path.is_file():
        # Its reader loads torch, which this layout alone has to wait for.
        described = read_architecture(str(path))
        return _settings(path, described.config, described.preprocess, described.tokenizer)
    return read_huggingface_settings(folder)


def read_huggingface_settings(folder: Path) -> ModelSettings:
    """Read the same in Hugging Face's layout, also where OpenCLIP's files lie beside it.

    Raises:
        CheckpointError: if one is missing, broken or not of a CLIP.
    """
    path = folder / CONFIG
    content, preprocess, tokenizer = read_files(path)
    try:
        config = CLIPConfig.from_json(content)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return _settings(path, config, preprocess, tokenizer)


def _settings(
    path: Path,
    config: CLIPConfig,
    preprocess: Mapping[str, Any] | None,
    tokenizer: TokenizerFiles | None,
) -> ModelSettings:
    size = config.vision.image_size if config.vision else Preprocess.image_size
    made = Preprocess(image_size=size)
    if config.vision and preprocess is not None:
        made = make_preprocess(preprocess, path, size)
    return ModelSettings(config, made, tokenizer)
