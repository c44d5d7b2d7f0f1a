"""Models by their name, file or directory: loaded, placed on a device, and saved."""

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from longclip.checkpoints import model_directory
from longclip.checkpoints.checkpoint import Checkpoint, lone_tower
from longclip.checkpoints.formats import huggingface as hf
from longclip.checkpoints.formats import openclip
from longclip.checkpoints.hub import fetch
from longclip.checkpoints.model_directory import make_preprocess
from longclip.checkpoints.model_names import BUNDLED, check_model_name, full_name
from longclip.checkpoints.open import open_checkpoint
from longclip.checkpoints.tokenizer_checksums import check_tokenizer
from longclip.checkpoints.torch_files import MAX_SHARING
from longclip.checkpoints.write import Storing, write_huggingface
from longclip.errors import CheckpointError, UsageError
from longclip.model.architectures import read_architecture
from longclip.model.clip import CLIP, check_model
from longclip.model.config import CLIPConfig, ForeignVisionConfig
from longclip.model.image_tower import ForeignImageTower, require_owner
from longclip.options import refuse_revision
from longclip.spec import Activation, Tower
from longclip.util.hardware import moving_to


class AssumptionWarning(UserWarning):
    """Settings of a model that no file states were guessed."""


def load(
    source: str | Path,
    *,
    dtype: torch.dtype | None = torch.float32,
    device: str | torch.device = "cpu",
    tower: Tower | None = None,
    activation: Activation | None = None,
    revision: str | None = None,
) -> CLIP:
    """Load a CLIP, or one tower of it, ready for inference.

    Args:
        source: a model directory (Hugging Face's layout, one tower's as well, or OpenCLIP's), a
            checkpoint file (OpenAI's, Long-CLIP's, OpenCLIP's, DeCLIP's), the name of a model on
            the Hugging Face hub (`openai/clip-vit-base-patch16`; `owner/model/folder` for a part
            of a pipeline) or a short one (`ViT-B/16`; see `longclip.known_models`), or that of a
            bundled one (`nano`). A directory of such a name in the working directory goes before
            the hub; one called nano is reached as `./nano`. The format is recognised by the
            content.
        dtype: of the weights in memory; None keeps that of the file. bfloat16 is fastest where the
            machine has it.
        device: of the weights.
        tower: `text` or `image` for that tower alone, with its projection; the other one's weights
            are not read.
        activation: `quick_gelu` or `gelu`, for a file of bare weights that does not say which and
            is neither OpenAI's nor a descendant (those are `quick_gelu`).
        revision: branch, tag or commit of a model on the hub.

    Raises:
        CheckpointError: if the checkpoint is incomplete or cannot be fetched, or its weights do
            not fit its configuration; the message lists what is missing, left over or of another
            shape.
        UsageError: if there is no such device or no room on it, or no such tower, or the dtype
            holds no weights.

    Warns:
        AssumptionWarning: if the weights are bare, and what they do not show was guessed.
    """
    checkpoint, model = open_checked(source, tower, activation, revision)
    source = full_name(source)
    if checkpoint.assumed:
        warnings.warn(f"{checkpoint.path}: {checkpoint.assumed}", AssumptionWarning, stacklevel=2)
    # Assigned, not copied: the weights stay views of the mapped file until a cast or a move.
    model.load_state_dict(checkpoint.tensors, assign=True)
    model.name = str(source)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return place(model, device, dtype).eval()


def untrained(name: str) -> CLIP:
    """Return a model with random weights: a named architecture, or what a configuration describes.

    Preprocessing and tokenizer are those beside the configuration; OpenAI's where there are none.

    Raises:
        UsageError: if there is no such name or file, or the library of its images is missing.
        CheckpointError: if the file does not describe a CLIP, or what lies beside it does not fit.
    """
    found = read_architecture(name)
    preprocess = None
    if found.config.vision and found.preprocess is not None:
        size = found.config.vision.image_size
        preprocess = make_preprocess(found.preprocess, Path(name), size)
    model = CLIP(found.config, preprocess, found.tokenizer)
    model.prepare_images()
    return model


def open_checked(
    source: str | Path,
    tower: Tower | None = None,
    activation: Activation | None = None,
    revision: str | None = None,
    *,
    new_tokenizer: bool = False,
) -> tuple[Checkpoint, CLIP]:
    """Open a checkpoint, and make the network it belongs to, without memory for its weights yet.

    Its tensors are known to fit the network then; they stay in the file until they are used.

    Args:
        source: as `load`, like the next three.
        tower: see there.
        activation: see there.
        revision: see there.
        new_tokenizer: take a tokenizer that is not the one the model was saved with.

    Raises:
        CheckpointError: as `load`.
    """
    if not isinstance(source, str | Path):
        raise UsageError(f"load takes the path or name of a model, not {source!r:.100}")
    source = full_name(source)
    path, part = Path(source), None
    if source in BUNDLED:
        path = bundled_path(str(source))
    elif path.parent.is_file():
        path, part = path.parent, path.name
    elif not path.exists():
        check_model_name(source)
        path = fetch(str(source), revision)
        revision = None
    refuse_revision(str(source), revision)
    checkpoint = open_checkpoint(path, activation, part)
    if not new_tokenizer:
        check_tokenizer(checkpoint)
    if tower:
        checkpoint = lone_tower(checkpoint, tower)
    model = _empty_model(checkpoint)
    _check_tensors(checkpoint, model.state_dict())
    return checkpoint, model


def check_before_loading(source: str | Path, *, images: bool) -> None:
    """Check that a model directory's tokenizer is there, and the library that computes its images.

    Of a model that is yet to be fetched, or whose configuration cannot be read, loading it tells.

    Args:
        source: a directory, or a configuration in one.
        images: whether pictures will be embedded.

    Raises:
        CheckpointError: if the tokenizer is missing or broken.
        UsageError: if the library is not installed; names the extra that installs it.
    """
    path = Path(source)
    for config in (path, path / model_directory.CONFIG, path / openclip.CONFIG):
        if config.suffix == ".json" and config.is_file():
            with suppress(CheckpointError, UsageError):
                found = read_architecture(str(config))
                break
    else:
        return
    if found.tokenizer:
        _ = found.tokenizer.tokenizer
    if images and isinstance(found.config.vision, ForeignVisionConfig):
        require_owner(found.config.vision.owner)


def bundled_path(name: str) -> Path:
    """Return the directory of a model that comes with the package."""
    return Path(str(resources.files("longclip") / "models" / name))


def place(model: CLIP, device: str | torch.device, dtype: torch.dtype | None = None) -> CLIP:
    """Move a model to a device; a dtype of None keeps its own.

    Raises:
        UsageError: if there is no such device or no room on it, or the dtype holds no weights.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise UsageError(f"dtype {dtype!r} holds no weights; take torch.float32 or torch.bfloat16")
    with moving_to(device):
        return model.to(device=device, dtype=dtype)


def save(
    model: CLIP,
    directory: str | Path,
    *,
    dtype: torch.dtype | None = None,
    card: str | None = None,
) -> None:
    """Write a model directory that transformers, sentence-transformers and `load` read.

    The directory appears whole or not at all, and replaces an older model directory.

    Args:
        model: the model to save.
        directory: its path; missing parents are made.
        dtype: of the stored weights; None keeps theirs.
        card: text of its README.md.

    Raises:
        FileExistsError: if `directory` exists and is not a model directory.
    """
    check_model(model, "save")
    preprocess = model.preprocess.to_json() if model.config.vision else None
    write_huggingface(
        directory,
        model.state_dict(),
        model.config.to_json(),
        preprocess,
        Storing(dtype=dtype, card=card),
        model.tokenizer_files,
    )


def _empty_model(checkpoint: Checkpoint) -> CLIP:
    """Return the network that the configuration describes, without memory for its weights.

    Its preprocessing is the checkpoint's, OpenAI's where that says none.
    """
    try:
        config = CLIPConfig.from_json(checkpoint.config)
        with torch.device("meta"), _NoInitialisation():
            model = CLIP(config, tokenizer_files=checkpoint.tokenizer)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.config_file or checkpoint.path}: {error}") from error
    if isinstance(image_tower := getattr(model, "vision_model", None), ForeignImageTower):
        # Only its owner knows what shapes it should have.
        start = "vision_model.tower."
        image_tower.hold(
            {
                name.removeprefix(start): tensor.to("meta")
                for name, tensor in checkpoint.tensors.items()
                if name.startswith(start)
            }
        )
    if config.vision and checkpoint.preprocess is not None:
        beside = checkpoint.config_file or checkpoint.path
        size = config.vision.image_size
        model.preprocess = make_preprocess(checkpoint.preprocess, beside, size)
    return model


class _NoInitialisation(TorchFunctionMode):
    """Mode in which `torch.nn.init` does nothing.

    On tensors without memory it would take two seconds: torch imports its compiler for the random
    numbers that it then does not make.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if kwargs else args[0]
        return func(*args, **(kwargs or {}))


def _check_tensors(checkpoint: Checkpoint, expected: dict[str, Tensor]) -> None:
    """Raise CheckpointError unless names, shapes and kinds of numbers are the network's."""
    found = checkpoint.tensors
    stored = sum(file.stat().st_size for file in checkpoint.files)
    needed = sum(tensor.nbytes for tensor in found.values())
    if needed > MAX_SHARING * stored:
        raise CheckpointError(
            f"{checkpoint.path} has {stored:,} bytes and its tensors need {needed:,}: they repeat "
            "the same numbers again and again, which would fill the memory"
        )
    problems = [
        *(f"missing: {name}" for name in sorted(expected.keys() - found.keys())),
        *(f"unknown: {name}" for name in sorted(found.keys() - expected.keys())),
        *(
            f"{name} is {list(found[name].shape)}, config.json says {list(expected[name].shape)}"
            for name in sorted(expected.keys() & found.keys())
            if found[name].shape != expected[name].shape
        ),
        *(
            f"{name} holds {hf.dtype_name(tensor.dtype)}, not floating-point numbers"
            for name, tensor in sorted(found.items())
            # Other libraries' towers count batches.
            if not tensor.is_floating_point() and not name.startswith("vision_model.tower.")
        ),
    ]
    scale = found.get("logit_scale")
    # Similarities would all be infinite or NaN, and say nothing.
    if scale is not None and not scale.float().exp().isfinite().all():
        problems.append(f"logit_scale is {scale.tolist()}, whose exponential is no finite number")
    if problems:
        shown = "\n  ".join(problems[:20])
        more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise CheckpointError(
            f"the weights in {checkpoint.path} do not fit its config.json:\n  {shown}{more}"
        )
