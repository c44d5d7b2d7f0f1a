"""Directories of ONNX files, in the layouts of the programs that run them.

`onnx` is Hugging Face's, as transformers.js and others read it: a model directory with
ONNX files in place of the weights. `immich` is that application's.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from longclip import __version__
from longclip.checkpoints import model_directory as hf
from longclip.checkpoints.checkpoint import Checkpoint
from longclip.checkpoints.config import write_json
from longclip.checkpoints.formats import openclip
from longclip.checkpoints.hub import README, Card, read_card, source_name
from longclip.checkpoints.model_names import full_name
from longclip.checkpoints.write import own_files
from longclip.encoders.onnx_files import DIGEST, PRECISION, read_metadata
from longclip.errors import CheckpointError, EncoderError, UsageError
from longclip.export.check import (
    Case,
    check_export,
    image_cases,
    padded_text_cases,
    text_cases,
)
from longclip.export.immich import IMMICH_FOLDERS, refuse_for_immich, write_immich_files
from longclip.export.onnx_writer import EXTERNAL, write_onnx
from longclip.export.quantize import quantize_images, quantize_text
from longclip.export.recall import (
    Int8,
    RecallPair,
    Sample,
    compare_recall,
    draw_sample,
    refuse_loss,
)
from longclip.export.towers import ImageGraph, TextGraph
from longclip.model.clip import CLIP
from longclip.model.identity import model_digest
from longclip.model.pretrained import open_checked
from longclip.spec import (
    ONNX_ENDINGS,
    ONNX_FOLDER,
    ONNX_TOWERS,
    Activation,
    OnnxPrecision,
    RuntimeTarget,
    Tower,
)
from longclip.text.tokenizer_directory import FILES
from longclip.text.tokenizer_files import write_tokenizer_files
from longclip.util.files import atomic_directory, check_replaceable
from longclip.util.libraries import require_libraries
from longclip.util.terminal import SILENT, OnProgress

_EXPORTING = "exporting and checking, towers"
_QUANTIZING = "making files of 8 bits, towers"

_MODEL = "model.onnx"


@dataclass(frozen=True)
class ExportedTower:
    """A tower in a file.

    Attributes:
        tower: which.
        precision: of its numbers.
        file: its place in the directory.
        bytes: of it, with its external data.
        difference: the largest of its embeddings from the model's, as a share of their length.
    """

    tower: Tower
    precision: OnnxPrecision
    file: str
    bytes: int
    difference: float


@dataclass(frozen=True)
class Export:
    """Record of what `export_onnx` did.

    Attributes:
        source: as it was named.
        destination: as it was named.
        format: of the source.
        to: layout that was written.
        digest: of the model, by which databases know it (`longclip.model.identity`).
        towers: what was written.
        notes: changes on the way, in words.
        recall: of int8 against float32; empty where there is no int8.
    """

    source: str
    destination: str
    format: str
    to: RuntimeTarget
    digest: str
    towers: tuple[ExportedTower, ...]
    notes: tuple[str, ...]
    recall: tuple[RecallPair, ...] = ()


def export_onnx(
    source: str | Path,
    destination: str | Path,
    to: RuntimeTarget = "onnx",
    *,
    precision: Literal["float32", "float16"] = "float32",
    int8: Int8 | None = None,
    activation: Activation | None = None,
    revision: str | None = None,
    new_tokenizer: bool = False,
    on_progress: OnProgress = SILENT,
) -> Export:
    """Write a CLIP, or a lone tower, as ONNX files, and compare what they compute with it.

    In `onnx`, inputs and outputs are as in transformers: `input_ids`, int64 [batch, length], to
    `text_embeds`, and `pixel_values`, float32 [batch, 3, H, W], to `image_embeds`; both of any
    batch and length, not normalised. In `immich`, one text, int32 [1, context], or picture at a
    time, to `embedding`, normalised.

    Args:
        source: as `longclip.load` takes it.
        destination: a directory; it appears whole or not at all.
        to: the layout.
        precision: of the numbers inside; what goes in and comes out is float32 in either, as in
            the files that transformers.js loads, so that programs take any of them.
        int8: also write files of 8 bits, made and judged by some data.
        activation: as `longclip.load`.
        revision: as `longclip.load`.
        new_tokenizer: take a tokenizer that is not the one the model was saved with.
        on_progress: gets the towers that are done.

    Raises:
        CheckpointError: if the source is no CLIP, torch cannot export its tower, the layout has no
            place for something in it, the file computes something else, or int8 loses more recall
            than it may.
        DataError: if the data for int8 cannot be read or have no texts.
        FileExistsError: if the destination is a directory that holds something else.
        UsageError: if a library is missing, or int8 is asked for with something it is not for.
    """
    if int8 and (to != "onnx" or precision != "float32"):
        raise UsageError(
            "files of 8 bits are made of those of float32, and written in the layout onnx alone; "
            "leave out --int8, or --dtype and --to immich"
        )
    require_libraries("export")
    source, destination = full_name(source), Path(destination)
    checkpoint, model = open_checked(
        source, activation=activation, revision=revision, new_tokenizer=new_tokenizer
    )
    refuse_foreign_files(destination, to)
    model.load_state_dict(checkpoint.tensors, assign=True)
    model.name = str(source)
    model = model.to(torch.float32).eval().requires_grad_(False)
    if model.config.text:
        model.check_tokenizer()
    if to == "immich":
        refuse_for_immich(model)
    if int8 and not model.config.whole:
        raise CheckpointError(
            f"{source} is one tower alone, so nothing is found with it, and what 8 bits cost "
            "cannot be measured; leave out --int8"
        )
    model.prepare_images()
    sample = draw_sample(model, int8) if int8 else None
    metadata = {
        DIGEST: model_digest(model),
        PRECISION: precision,
        "longclip.version": __version__,
    }
    towers: list[Tower] = []
    cases: dict[Tower, list[Case]] = {}
    if model.config.text:
        towers.append("text")
        cases["text"] = (text_cases if to == "onnx" else padded_text_cases)(model)
    if model.config.vision:
        towers.append("image")
        cases["image"] = image_cases(model, together=to == "onnx")
    model = model.to(getattr(torch, precision))
    done: list[ExportedTower] = []
    with atomic_directory(destination, marker=_markers(to)) as new:
        for number, tower in enumerate(towers):
            on_progress(_EXPORTING, number, len(towers))
            path = new / _file_of(tower, precision, to)
            path.parent.mkdir(exist_ok=True)
            files = write_tower(model, tower, path, to, metadata)
            difference = check_export(path, cases[tower], precision, normalized=to == "immich")
            size = sum(file.stat().st_size for file in files)
            name = path.relative_to(new).as_posix()
            done.append(ExportedTower(tower, precision, name, size, difference))
        on_progress(_EXPORTING, len(towers), len(towers))
        if to == "immich":
            write_immich_files(new, model)
            _write_tokenizer(new / IMMICH_FOLDERS["text"], model)
        else:
            _write_model_files(new, model)
        recall: tuple[RecallPair, ...] = ()
        if int8 and sample:
            done += _write_int8(model, new, sample, cases, on_progress)
            recall = compare_recall(new, sample, on_progress)
            refuse_loss(recall, int8.max_recall_loss)
        kept = _keep_other_numbers(destination, new, metadata) if to == "onnx" else {}
        name = source_name(source)
        card = _card(checkpoint, name, metadata, done, kept, to)
        (new / README).write_text(card, encoding="utf-8")
    return Export(
        source=str(source),
        destination=str(destination),
        format=checkpoint.format,
        to=to,
        digest=metadata[DIGEST],
        towers=tuple(done),
        notes=(
            *checkpoint.notes,
            *(f"{file}, written before of the same model, is kept" for file in kept),
        ),
        recall=recall,
    )


def _keep_other_numbers(earlier: Path, new: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """Take over an earlier export's files of the same model in other numbers → their precision."""
    kept = {}
    for path in sorted((earlier / ONNX_FOLDER).glob("*.onnx")):
        if (new / ONNX_FOLDER / path.name).exists():
            continue
        try:
            stated = read_metadata(path)
        except EncoderError:  # damaged; it goes with the export that it was a part of
            continue
        if stated.get(DIGEST) == metadata[DIGEST]:
            for part in (path, path.with_name(f"{path.name}{EXTERNAL}")):
                if part.exists():
                    shutil.copy2(part, new / ONNX_FOLDER / part.name)
            kept[f"{ONNX_FOLDER}/{path.name}"] = stated.get(PRECISION, "unknown")
    return kept


def _write_int8(
    model: CLIP,
    directory: Path,
    sample: Sample,
    cases: Mapping[Tower, list[Case]],
    on_progress: OnProgress,
) -> list[ExportedTower]:
    """Write both towers of 8 bits beside those of float32."""
    done = []
    for number, tower in enumerate(ONNX_TOWERS):
        on_progress(_QUANTIZING, number, len(ONNX_TOWERS))
        source, path = (
            directory / _file_of(tower, precision, "onnx") for precision in ("float32", "int8")
        )
        if tower == "text":
            quantize_text(source, path)
        else:
            quantize_images(source, path, sample.pixels)
        difference = check_export(path, cases[tower], "int8", normalized=False)
        size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
        name = path.relative_to(directory).as_posix()
        done.append(ExportedTower(tower, "int8", name, size, difference))
    on_progress(_QUANTIZING, len(ONNX_TOWERS), len(ONNX_TOWERS))
    return done


def write_tower(
    model: CLIP, tower: Tower, path: Path, to: RuntimeTarget, metadata: Mapping[str, str]
) -> tuple[Path, ...]:
    """Write one tower of a model, in the precision that it has → the files.

    Raises:
        CheckpointError: if torch cannot export it.
    """
    fixed = to == "immich"
    if tower == "text":
        ids = torch.full((1, model.context_length), 0, dtype=torch.int32)
        return write_onnx(
            path,
            TextGraph(model, normalize=fixed),
            ids if fixed else torch.zeros(2, min(model.context_length, 7), dtype=torch.int64),
            input_name="text" if fixed else "input_ids",
            output_name="embedding" if fixed else "text_embeds",
            dynamic={} if fixed else {0: "batch_size", 1: "sequence_length"},
            longest=None if fixed else model.context_length,
            metadata=metadata,
        )
    size = model.preprocess.image_size
    return write_onnx(
        path,
        ImageGraph(model, normalize=fixed),
        torch.zeros(1 if fixed else 2, 3, size, size),
        input_name="image" if fixed else "pixel_values",
        output_name="embedding" if fixed else "image_embeds",
        dynamic={} if fixed else {0: "batch_size"},
        metadata=metadata,
    )


def _file_of(tower: Tower, precision: OnnxPrecision, to: RuntimeTarget) -> str:
    if to == "immich":
        return f"{IMMICH_FOLDERS[tower]}/{_MODEL}"
    return f"{ONNX_FOLDER}/{ONNX_TOWERS[tower]}{ONNX_ENDINGS[precision]}"


def _markers(to: RuntimeTarget) -> tuple[str, ...]:
    return tuple(_file_of(tower, number, to) for tower in ONNX_TOWERS for number in ONNX_ENDINGS)


def refuse_foreign_files(directory: Path, to: RuntimeTarget) -> None:
    """Refuse to replace a directory that holds anything else than an export: it would be gone.

    Raises:
        FileExistsError: names some of it.
    """
    check_replaceable(directory, _markers(to))
    if not directory.exists():
        return
    beside = (*FILES, hf.CONFIG, hf.PREPROCESSOR, openclip.CONFIG, README, "preprocess_cfg.json")
    towers = "|".join([*ONNX_TOWERS.values(), "model"])
    endings = "|".join(map(re.escape, ONNX_ENDINGS.values()))
    own = re.compile(rf"({towers})({endings})({EXTERNAL})?|{'|'.join(map(re.escape, beside))}")
    files = (path for path in directory.rglob("*") if not path.is_dir())
    other = sorted(
        path.relative_to(directory).as_posix() for path in files if not own.fullmatch(path.name)
    )
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise FileExistsError(
            f"{directory} holds {', '.join(other[:3])}{more} beside ONNX files, which would be "
            "removed with them, so it is not overwritten; name a new directory or move the files"
        )


def _write_model_files(directory: Path, model: CLIP) -> None:
    """Write what lies beside the weights of a model directory."""
    config, preprocess = model.config, model.preprocess.to_json()
    context = model.context_length if config.text else None
    files: dict[str, Any] = {hf.CONFIG: config.to_json()}
    if config.vision:
        files[hf.PREPROCESSOR] = preprocess
    if config.own:
        files |= own_files(config.to_json(), context)
    for name, content in files.items():
        write_json(directory / name, content)
    if config.text:
        _write_tokenizer(directory, model)


def _write_tokenizer(directory: Path, model: CLIP) -> None:
    context = model.context_length
    if model.tokenizer_files:
        for name, content in model.tokenizer_files.contents_for(context).items():
            (directory / name).write_bytes(content)
    else:
        write_tokenizer_files(directory, context)


def _card(
    checkpoint: Checkpoint,
    name: str,
    metadata: Mapping[str, str],
    towers: list[ExportedTower],
    kept: Mapping[str, str],
    to: RuntimeTarget,
) -> str:
    """Return a card that says what the files were made of and how near they come to it.

    Of files that are kept of an earlier export, which are named with their precision in `kept`, it
    says that alone: they were compared when they were written.
    """
    path = checkpoint.path
    licence, earlier = read_card(path if path.is_dir() else path.parent)
    facts = {
        "source": f"{name} ({checkpoint.format})",
        "digest of the model": metadata[DIGEST],
        **{
            tower.file: f"{tower.precision}, {tower.difference:.0e} from the model's embeddings"
            for tower in towers
        },
        **{file: f"{precision}, of an earlier export" for file, precision in kept.items()},
    }
    return Card(
        title=Path(name).stem if path.is_file() else name,
        introduction=f"Exported to ONNX by longclip {__version__}.",
        facts=facts,
        library="transformers.js" if to == "onnx" else "immich",
        notes=checkpoint.notes,
        sections={"The card of the source": earlier} if earlier else None,
        licence=licence,
    ).text()
