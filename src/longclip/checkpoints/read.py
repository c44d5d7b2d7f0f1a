"""Any CLIP checkpoint, recognised by what is in it and read under Hugging Face's names."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from longclip.checkpoints.checkpoint import Checkpoint
from longclip.checkpoints.formats import declip, longclip, openai, openclip
from longclip.checkpoints.formats import huggingface as hf
from longclip.checkpoints.formats.safetensors import is_safetensors, read_safetensors
from longclip.checkpoints.formats.torchscript import read_torch_file
from longclip.checkpoints.infer import infer_config
from longclip.errors import CheckpointError
from longclip.spec import KEEP, Activation

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".tar", ".ckpt")

# Counters and masks of older programs; they hold no knowledge.
_IGNORED = ("attn_mask", "input_resolution", "context_length", "vocab_size")
_POSITION_IDS = ".embeddings.position_ids"
_OPENAI_ENTRIES = {"input_resolution", "context_length", "vocab_size"}
# Where training programs keep the weights inside a checkpoint.
_INSIDE = ("state_dict", "model", "model_state_dict")


def open_checkpoint(path: Path, activation: Activation | None = None) -> Checkpoint:
    """Read a checkpoint of any kind that can be told from its content.

    Args:
        path: a file, or a directory in Hugging Face's or OpenCLIP's layout or with one weight file.
        activation: what the towers' hidden layers compute, for bare weights that do not say.

    Raises:
        CheckpointError: if it is no CLIP with ViT towers, is broken, or has tensors that mean
            nothing here; these are listed.
    """
    if path.is_dir():
        return _open_directory(path, activation)
    if path.suffix == ".json":
        raise CheckpointError(f"{path} is a configuration; name its directory to load the model")
    return _open_file(path, activation)


def _open_directory(path: Path, activation: Activation | None) -> Checkpoint:
    described = (path / hf.CONFIG).is_file()
    if activation and (described or (path / openclip.CONFIG).is_file()):
        raise CheckpointError(
            f"{path} says its activation in its configuration; leave out --activation, which is "
            "for files of bare weights"
        )
    # The hub's cache holds both layouts of a model where two programs have asked for it.
    if (path / openclip.CONFIG).is_file() and not (described and hf.has_weights(path)):
        return _open_openclip(path)
    if described or hf.has_weights(path):
        return _open_huggingface(path)
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if len(files) == 1:
        return _open_file(files[0], activation)
    if files:
        names = ", ".join(file.name for file in files)
        raise CheckpointError(f"{path} holds several weight files ({names}); name one of them")
    raise CheckpointError(
        f"{path} holds no weights: neither {hf.WEIGHTS} nor any other "
        f"{', '.join(SUFFIXES)} file; fetch the model again"
    )


def _open_huggingface(path: Path) -> Checkpoint:
    config = hf.read_json(path / hf.CONFIG)
    tensors = _without_counters(hf.read_weights(path))
    kind = str(config.get("model_type"))
    if kind in ("clip_text_model", "clip_vision_model"):
        tensors = _with_tower_prefix(tensors, f"{kind.split('_')[1]}_model.")
    preprocessor = path / hf.PREPROCESSOR
    preprocess = hf.read_json(preprocessor) if preprocessor.is_file() else None
    return Checkpoint(path, hf.weight_files(path), "Hugging Face", config, tensors, preprocess)


def _with_tower_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Restore the prefix that transformers 5 leaves out of lone towers and 4 looks for."""
    if any(name.startswith(prefix) for name in tensors):
        return tensors
    return {
        name if "projection." in name and "encoder." not in name else prefix + name: tensor
        for name, tensor in tensors.items()
    }


def _open_openclip(path: Path) -> Checkpoint:
    config, preprocess = openclip.read_config(path)
    weights = openclip.weights_in(path)
    tensors = _plain(path, _tensors_of(weights))
    found, unknown = openai.to_huggingface(tensors)
    _refuse_unknown(path, unknown)
    return Checkpoint(path, (weights,), "OpenCLIP", config, found, preprocess)


def _open_file(path: Path, activation: Activation | None) -> Checkpoint:
    values = _tensors_of(path)
    if declip.is_declip(values):
        return _open_declip(path, values)
    guess = _guess(path, values)
    assumed = () if activation else (_guessed(guess),)
    if any(name.startswith(("text_model.", "vision_model.")) for name in values):
        tensors = _without_counters(values)
        config = infer_config(tensors, activation or guess)
        return Checkpoint(path, (path,), "Hugging Face", config, tensors, notes=assumed)
    tensors = _plain(path, values)
    kind = "OpenAI" if _OPENAI_ENTRIES & values.keys() else "OpenCLIP"
    extras: dict[str, Tensor] = {}
    notes: tuple[str, ...] = ()
    if longclip.TRAINED in tensors:
        kind = "Long-CLIP"
        extras = {name: tensors[name] for name in (longclip.FROZEN, longclip.TRAINED)}
        tensors[longclip.FROZEN] = longclip.fold(path, *extras.values())
        del tensors[longclip.TRAINED]
        notes = (f"rows from {KEEP} on are those of {longclip.TRAINED}",)
    elif kind == "OpenCLIP":
        notes = assumed
    found, unknown = openai.to_huggingface(tensors)
    _refuse_unknown(path, unknown)
    config = infer_config(found, activation or guess)
    return Checkpoint(path, (path,), kind, config, found, notes=notes, extras=extras)


def _open_declip(path: Path, values: dict[str, Tensor]) -> Checkpoint:
    renamed, heads = declip.to_openai(values)
    found, unknown = openai.to_huggingface(renamed)
    _refuse_unknown(path, unknown)
    notes = ["the mask token's row was taken out of the vocabulary, which is CLIP's own then"]
    if heads:
        notes.append(f"{len(heads)} tensors of training heads are left out")
    config = infer_config(found, "quick_gelu")
    size = config["vision_config"]["image_size"]
    preprocess = declip.PREPROCESS | {"size": size, "crop_size": size}
    return Checkpoint(path, (path,), "DeCLIP", config, found, preprocess, tuple(notes))


def _guess(path: Path, values: Mapping[str, object]) -> Activation:
    """OpenAI's own models and their descendants use quick-GELU, OpenCLIP's GELU unless named so.

    A text tower alone under Hugging Face's names is what ComfyUI reads, which knows by the depth.
    """
    own = _OPENAI_ENTRIES & values.keys() or longclip.TRAINED in values
    layers = {
        name.split(".")[3] for name in values if name.startswith("text_model.encoder.layers.")
    }
    lone = layers and not any(name.startswith("vision_model.") for name in values)
    name = path.name.lower()
    if own or "quickgelu" in name or "openai" in name or (lone and len(layers) <= 22):
        return "quick_gelu"
    return "gelu"


def _guessed(guess: Activation) -> str:
    return f"the activation is not in the file; {guess} was assumed, --activation decides otherwise"


def _tensors_of(path: Path) -> dict[str, Tensor]:
    """Names and tensors of one file; OpenAI's counters among them."""
    try:
        if is_safetensors(path) or path.suffix == ".safetensors":
            return read_safetensors(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    values = read_torch_file(path)
    for name in _INSIDE:
        if isinstance(values.get(name), Mapping):
            values = {str(key): value for key, value in values[name].items()}
    tensors = {
        name.removeprefix("module."): value if isinstance(value, Tensor) else torch.tensor(value)
        for name, value in values.items()
        if isinstance(value, Tensor) or name in _OPENAI_ENTRIES
    }
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors, only {', '.join(list(values)[:5])}")
    return tensors


def _plain(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenAI's names, whether or not the text tower's begin with `text.`."""
    if any(name.startswith(("visual.layer1.", "visual.trunk.")) for name in tensors):
        raise CheckpointError(f"{path} has a ResNet or timm image tower; only CLIP's ViT is read")
    prefix = "text." if any(name.startswith("text.transformer.") for name in tensors) else ""
    plain = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(prefix)
        if short in _IGNORED:
            continue
        if short == "text_projection.weight":
            short, tensor = "text_projection", tensor.T
        plain[short] = tensor.reshape(()) if short == "logit_scale" else tensor
    return plain


def _without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in tensors.items() if not f".{name}".endswith(_POSITION_IDS)}


def _refuse_unknown(path: Path, unknown: list[str]) -> None:
    if unknown:
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise CheckpointError(
            f"{path} has tensors that are no part of a CLIP: {', '.join(unknown[:10])}{more}; "
            "if it is a CLIP of another kind, convert it to Hugging Face's layout first"
        )
