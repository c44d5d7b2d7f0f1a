"""Content that a run depends on and that lies elsewhere: its data, and the model it starts from.

Paths say little: data may be moved, or change in its place. So config.json holds fingerprints, and
a run that is resumed compares them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from longclip.data import Collection
from longclip.data.mixture import Mixture
from longclip.errors import CheckpointError, DataError
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP
from longclip.model.config import CLIPConfig
from longclip.model.identity import model_digest
from longclip.model.pretrained import place
from longclip.runs.run_files import TOKENIZER
from longclip.text.tokenizer_directory import TokenizerFiles
from longclip.training.config import TrainConfig
from longclip.training.run.model import initial_model


def data_content(collection: Collection) -> dict[str, Any]:
    """Return what is known again of the data of a run."""
    known: dict[str, Any] = {"sha256": collection.fingerprint(), "items": len(collection)}
    if isinstance(collection, Mixture):
        known["sources"] = [
            {"items": part.stop - part.start, "weight": part.weight} | asdict(part.texts)
            for part in collection.parts
        ]
    return known


def model_content(model: CLIP) -> dict[str, Any]:
    """Return what is known again of the model a run starts from, and what it takes to build it."""
    own = model.tokenizer_files
    return {
        "sha256": start_digest(model),
        "config": model.config.to_json(),
        "preprocess": model.preprocess.to_json(),
        "tokenizer": None if own is None else _known_tokenizer(own),
    }


def start_digest(model: CLIP) -> str:
    """Return the SHA-256 of what a run starts from: embeddings, and how similarities are made."""
    weights = model.state_dict()
    similarities = [float(weights.get(name, 0)) for name in ("logit_scale", "logit_bias")]
    return hashlib.sha256(f"{model_digest(model)} {similarities}".encode()).hexdigest()


def _known_tokenizer(files: TokenizerFiles) -> dict[str, Any]:
    """Return what is known again of the files of a tokenizer, and what is in none of them."""
    hashes = {n: hashlib.sha256(c).hexdigest() for n, c in sorted(files.contents.items())}
    return {"cleaning": list(files.cleaning), "sha256": hashes}


def _kept_tokenizer(config: TrainConfig, known: Mapping[str, Any] | None) -> TokenizerFiles | None:
    """Return the tokenizer that a run keeps; None where it is CLIP's.

    Raises:
        CheckpointError: if it is missing or another one.
    """
    if known is None:
        return None
    folder = config.out / TOKENIZER
    try:
        contents = {name: (folder / name).read_bytes() for name in known["sha256"]}
    except OSError as error:
        raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}") from error
    files = TokenizerFiles(folder, contents, tuple(known["cleaning"]))
    if _known_tokenizer(files) != known:
        raise CheckpointError(
            f"{folder} is not the tokenizer that this run was started with; put its files back "
            "from the model that it started from"
        )
    return files


def check_data(found: Mapping[str, Any], started: Mapping[str, Any], names: str) -> None:
    """Compare the data of a run that is resumed.

    Raises:
        DataError: if it is not what the run was started with; says what changed, and what to do.
    """
    if found["sha256"] == started["sha256"]:
        return
    if found["items"] == started["items"]:
        what = f"there are {found['items']:,} items as before, but other texts or pictures"
    else:
        what = f"there are {found['items']:,} items, there were {started['items']:,}"
    sources, before = found.get("sources", ()), started.get("sources", ())
    if len(sources) == len(before) > 1 and sources != before:
        changed = (
            f"`{key}` is {row[key]}, was {old.get(key)}, of source {number}"
            for number, (row, old) in enumerate(zip(sources, before, strict=True), 1)
            for key in row
            if row[key] != old.get(key)
        )
        what = f"{next(changed, what)} of the mixture"
    raise DataError(
        f"{names} is not the data that this run was started with: {what}. Put it back, name it "
        "with --data if it is elsewhere, or take --changed-data to go on with what there is"
    )


def check_teacher(name: str, teacher: CLIP, started: Mapping[str, Any]) -> None:
    """Compare the teacher of a run that is resumed; one that begins has none to compare with.

    Raises:
        CheckpointError: if it is not the one that the run was started with.
    """
    if started and started.get("long_teacher") != start_digest(teacher):
        raise CheckpointError(
            f"--long-teacher {name} is not the teacher that this run was started with: its weights "
            "or its settings are others. Put that one back, or name it with --long-teacher"
        )


def resumed_model(
    config: TrainConfig,
    started: Mapping[str, Any],
    device: torch.device | str,
    *,
    start_needed: bool,
) -> CLIP:
    """Return a model to be filled from a checkpoint, or the one that the run starts from.

    Args:
        config: of the run.
        started: what `model_content` returned when it began.
        device: where the model is to be.
        start_needed: whether its weights are wanted, and not the shape alone.

    Raises:
        CheckpointError: if the weights are wanted and are other ones than they were.
        ValueError: if they cannot be loaded.
    """
    if not start_needed:
        torch.manual_seed(config.seed)
        shape = CLIPConfig.from_json(started["config"])
        tokenizer = _kept_tokenizer(config, started.get("tokenizer"))
        model = CLIP(shape, Preprocess.from_json(started["preprocess"]), tokenizer)
        model.prepare_images()
        return place(model, device)
    model = initial_model(config, device)
    if start_digest(model) != started["sha256"]:
        name = f"--scratch {config.scratch}" if config.scratch else f"--model {config.model}"
        raise CheckpointError(
            f"{name} is not the model that this run was started with: its weights or its settings "
            "are others. Put that one back, or name it with --model"
        )
    return model
