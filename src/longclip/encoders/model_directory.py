"""Settings of a model from the files beside its weights, whatever the weights are kept in."""

from dataclasses import dataclass
from pathlib import Path

from longclip.checkpoints.formats import openclip
from longclip.checkpoints.model_directory import CONFIG, make_preprocess
from longclip.errors import CheckpointError
from longclip.image.preprocess import Preprocess
from longclip.model.config import CLIPConfig, read_architecture
from longclip.text.tokenizer_directory import TokenizerFiles


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
    path = folder / openclip.CONFIG
    if not path.is_file():
        path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {path.name}; fetch or export the model again")
    found = read_architecture(str(path))
    vision = found.config.vision
    size = vision.image_size if vision else Preprocess.image_size
    preprocess = Preprocess(image_size=size)
    if vision and found.preprocess is not None:
        preprocess = make_preprocess(found.preprocess, path, size)
    return ModelSettings(found.config, preprocess, found.tokenizer)
