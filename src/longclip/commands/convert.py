"""`longclip convert`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from longclip.errors import UsageError


def convert_command(
    source: str,
    destination: str,
    /,
    *,
    to: Literal["hf", "hf-text", "openai", "openclip", "comfyui"] = "hf",
    dtype: Literal["keep", "float32", "float16", "bfloat16"] = "keep",
    shard_size: float = 5.0,
    activation: Literal["quick_gelu", "gelu"] | None = None,
    revision: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write any CLIP in the layout of another program, bit for bit unless `dtype` says otherwise.

    `hf` is a directory for transformers, sentence-transformers and diffusers, `hf-text` one with
    the text tower alone; `openclip` is a directory for open_clip; `openai` is a .pt file for
    OpenAI's code, and `comfyui` a .safetensors file with the text tower.

    Example: `longclip convert longclip-B.pt runs/longclip-B`

    Parameters
    ----------
    source:
        A model directory, a checkpoint file of any kind, a hub name, or `nano`.
    destination:
        A directory, or for `openai` and `comfyui` a file.
    to:
        Whose layout.
    dtype:
        What weights are stored in.
    shard_size:
        Gigabytes at which an hf directory begins another weight file.
    activation:
        For files of bare weights that do not say which one they use.
    revision:
        Branch, tag or commit of a model on the hub.
    json:
        Print the result as JSON.
    """
    import dataclasses
    import json as json_format

    import torch

    from longclip._progress import progress_display
    from longclip.model.convert import convert

    if shard_size <= 0:
        raise UsageError(f"--shard-size is {shard_size}, must be above 0")
    kind = None if dtype == "keep" else getattr(torch, dtype)
    with progress_display() as progress:
        done = convert(
            source,
            destination,
            to,
            dtype=kind,
            shard_bytes=int(shard_size * 1e9),
            activation=activation,
            revision=revision,
            on_progress=progress,
        )
    if json:
        print(json_format.dumps(dataclasses.asdict(done)))
        return
    print(f"{source} ({done.format}) → {destination} ({to})")
    for note in done.notes:
        print(f"  {note}")
