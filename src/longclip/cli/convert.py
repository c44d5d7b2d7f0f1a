"""`longclip convert`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from longclip.cli.options import AS_OPTIONS, AsJson, full_name
from longclip.errors import UsageError
from longclip.options import check_options, flag_of, images_option, option
from longclip.spec import (
    CALIBRATION_PICTURES,
    MAX_RECALL_LOSS,
    Activation,
    AnyTarget,
    RuntimeTarget,
    Tower,
)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Layout, dtype and size of the files, and facts that the source does not state."""

    to: AnyTarget = option("The program whose layout is written.", "hf")
    dtype: Literal["keep", "float32", "float16", "bfloat16"] = option(
        "Numbers that weights are stored in; `keep` leaves them as they are. ONNX files also "
        "compute in them, float32 (their `keep`) or float16.",
        "keep",
    )
    int8: bool = option(
        "Beside the ONNX files of float32 write int8 ones, a quarter of their size, and measure "
        "what that costs in recall; needs --data.",
        False,
    )
    data: str | None = option(
        "For --int8: pictures with texts like those that will be searched, to calibrate on and to "
        "measure recall with, as `longclip eval` takes them: a benchmark, `scenes`, a .csv, .jsonl "
        "or .parquet file, or a folder.",
        None,
    )
    images: tuple[Path, ...] = images_option()
    calibration_pictures: int = option(
        "For --int8: how many pictures of the data the image tower is calibrated on.",
        CALIBRATION_PICTURES,
        least=1,
    )
    max_recall_loss: float = option(
        "For --int8: points of recall@1 that int8 may lose on the data, by long or short texts, "
        "either way; beyond that nothing is written.",
        MAX_RECALL_LOSS,
        least=0,
    )
    shard_size: float = option(
        "Gigabytes at which an hf directory begins another weight file.", 5.0, above=0
    )
    activation: Activation | None = option(
        "For files of bare weights that do not say which one they use.", None
    )
    new_tokenizer: bool = option(
        "Take the tokenizer's files though they are not those that the model was saved with.", False
    )
    revision: str | None = option("Branch, tag or commit of a model on the hub.", None)

    def __post_init__(self) -> None:
        check_options(self)
        if self.int8 and (self.to != "onnx" or self.dtype not in ("keep", "float32")):
            raise UsageError(
                "--int8 is for --to onnx, beside files of float32; leave out one of the options"
            )
        if self.int8 and self.data is None:
            raise UsageError(
                "--int8 needs --data: pictures with texts, to calibrate on and to measure what it "
                "costs in recall; `--data scenes` are drawings that come with the package"
            )
        for name in ("data", "images", "calibration_pictures", "max_recall_loss"):
            if not self.int8 and getattr(self, name) != getattr(type(self), name):
                raise UsageError(f"{flag_of(name)} is for --int8; leave it out or add that")
        if self.to in get_args(RuntimeTarget):
            if self.dtype == "bfloat16":
                raise UsageError(
                    "--dtype bfloat16: few runtimes compute ONNX files in it, and onnxruntime on a "
                    "CPU does not; take float16 or float32"
                )
            if self.shard_size != type(self).shard_size:
                raise UsageError(
                    "--shard-size is for --to hf; weights of an ONNX file beyond 2 GB are one file "
                    "beside it"
                )


def convert_command(
    source: str,
    destination: str,
    /,
    *,
    options: Annotated[ConvertOptions, AS_OPTIONS] = ConvertOptions(),
    as_json: AsJson = False,
) -> None:
    """Write any CLIP in the layout of another program.

    Weights stay as they are, bit for bit, unless --dtype says otherwise.

    `hf` is a directory for transformers, sentence-transformers and diffusers, `hf-text` one with
    the text tower alone; `openclip` is a directory for open_clip; `openai` is a .pt file for
    OpenAI's code, `longclip` one for Long-CLIP's, and `comfyui` a .safetensors file with the text
    tower. `onnx` is a directory of ONNX files for onnxruntime, transformers.js and OpenVINO, and
    `immich` one for that application; nothing is written where they compute anything else than the
    model.

    Example: `longclip convert longclip-B.pt runs/longclip-B`

    Parameters
    ----------
    source:
        A model directory, a checkpoint file of any kind, a hub or short name, or `nano`.
    destination:
        A directory, or for `openai`, `longclip` and `comfyui` a file.
    """
    import json

    source = full_name(source)
    if options.to == "onnx" or options.to == "immich":
        _export(source, destination, options.to, options, as_json)
        return
    import torch

    from longclip.model.convert import convert
    from longclip.util.terminal import progress_display

    with progress_display() as progress:
        done = convert(
            source,
            destination,
            options.to,
            dtype=None if options.dtype == "keep" else getattr(torch, options.dtype),
            shard_bytes=int(options.shard_size * 1e9),
            activation=options.activation,
            revision=options.revision,
            new_tokenizer=options.new_tokenizer,
            on_progress=progress,
        )
    if as_json:
        print(json.dumps(asdict(done)))
        return
    print(f"{source} ({done.format}) → {destination} ({options.to})")
    for note in done.notes:
        print(f"  {note}")
    if options.to == "hf":
        print(f"next: longclip eval {destination} --data DATA")
    else:
        print(f"next: longclip inspect {destination}")


def _export(
    source: str, destination: str, to: RuntimeTarget, options: ConvertOptions, as_json: bool
) -> None:
    """Write ONNX files and print how near they come to the model."""
    import json

    from longclip.export import Int8, export_onnx
    from longclip.util.terminal import progress_display

    int8 = None
    if options.data is not None:
        int8 = Int8(
            data=options.data,
            images=options.images,
            calibration_pictures=options.calibration_pictures,
            max_recall_loss=options.max_recall_loss,
        )
    with progress_display() as progress:
        done = export_onnx(
            source,
            destination,
            to,
            precision="float16" if options.dtype == "float16" else "float32",
            int8=int8,
            activation=options.activation,
            revision=options.revision,
            new_tokenizer=options.new_tokenizer,
            on_progress=progress,
        )
    if as_json:
        print(json.dumps(asdict(done)))
        return
    print(f"{source} ({done.format}) → {destination} ({to})")
    for tower in done.towers:
        print(f"  {tower.file}: {tower.bytes / 1e6:,.1f} MB, {tower.precision}")
    names: dict[Tower, str] = {"text": "text", "image": "images"}
    for precision in dict.fromkeys(tower.precision for tower in done.towers):
        shown = ", ".join(
            f"{names[tower.tower]} {tower.difference:.0e}"
            for tower in done.towers
            if tower.precision == precision
        )
        said = "" if len(done.towers) < 3 else f" of {precision}"
        print(f"  largest difference{said} {shown}")
    for pair in done.recall:
        print(
            f"  recall@1, {pair.data}, {pair.task} texts, {pair.direction.replace('_', ' ')} "
            f"({pair.images:,} images, {pair.texts:,} texts): "
            f"float32 {100 * pair.float32:.1f}, int8 {100 * pair.int8:.1f}"
        )
    for note in done.notes:
        print(f"  {note}")
    if to == "onnx" and len({tower.tower for tower in done.towers}) == len(names):
        print(f"next: longclip eval onnx:{destination} --data DATA")
