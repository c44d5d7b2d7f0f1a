"""`longclip convert`."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from longclip.cli.options import AS_OPTIONS, AsJson, full_name
from longclip.options import check_options, option
from longclip.spec import Activation, ExportTarget


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Layout, dtype and size of the files, and facts that the source does not state."""

    to: ExportTarget = option("The program whose layout is written.", "hf")
    dtype: Literal["keep", "float32", "float16", "bfloat16"] = option(
        "Numbers that weights are stored in; `keep` leaves them as they are.", "keep"
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
    tower.

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
