"""`longclip generate`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

_Flag = Annotated[bool, Parameter(negative="")]
_Text = Annotated[str, Parameter(allow_leading_hyphen=True)]


def generate_command(
    prompt: _Text,
    /,
    *,
    model: str,
    out: Path,
    text_encoder: str | None = None,
    text_encoder_2: str | None = None,
    negative: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    compare: _Flag = False,
    seed: int = 0,
    steps: int = 30,
    guidance: float | None = None,
    width: int | None = None,
    height: int | None = None,
    count: int = 1,
    overflow: Literal["warn", "chunk"] = "warn",
    clip_skip: int | None = None,
    weights: _Flag = False,
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
    device: str | None = None,
    revision: str | None = None,
    download: _Flag = False,
    overwrite: _Flag = False,
    json: _Flag = False,
) -> None:
    """Make pictures of long prompts with Stable Diffusion 1.x, 2.x or SDXL.

    The pipeline's text encoders are exchanged for ones that read 248 tokens; nothing is retrained.
    A picture holds in its text chunks what it was made from.

    Example: `longclip generate "A lighthouse at dusk. …" --model MODEL --out lighthouse.png`

    Example: `longclip generate - --model stable-diffusion-v1-5/stable-diffusion-v1-5
    --text-encoder BeichenZhang/LongCLIP-L --compare --out both.png < prompt.txt`

    Parameters
    ----------
    prompt:
        What is to be seen; `-` reads it from standard input.
    model:
        A diffusers pipeline: a directory, or owner/model on the hub.
    out:
        The picture, a .png file; with --count 2 and more, -1, -2 … is added to the name.
    text_encoder:
        A Long-CLIP for the first text encoder: anything that other commands take as a model. Where
        not given, the pipeline's own is stretched.
    text_encoder_2:
        Likewise for the second one of SDXL.
    negative:
        What is not to be seen.
    compare:
        Draw the prompt with the original encoders, too, which cut it at 77 tokens, and put both
        pictures side by side, over the prompt with the part that was cut marked in it.
    seed:
        Decides the noise; each further picture has the next one.
    steps:
        Denoising steps.
    guidance:
        How strongly the prompt is followed; where not given, the pipeline's default.
    width:
        In pixels; where not given, what the model was trained for.
    height:
        Likewise.
    count:
        Number of pictures.
    overflow:
        What becomes of a prompt longer than the long encoder reads: `warn` cuts it and says so,
        `chunk` reads it in several windows.
    clip_skip:
        Layers left out at the end of the encoders, counted as diffusers does: 1 is "Clip skip 2"
        of the web UI.
    weights:
        Read (word:1.3), [word] and BREAK instead of taking them for text.
    dtype:
        Of the weights: auto is float16 on CUDA and float32 elsewhere.
    device:
        cpu, cuda, cuda:1 …; where not given, cuda if there is one.
    revision:
        Branch, tag or commit of the pipeline on the hub.
    download:
        Fetch weights that are not on this machine. Without it, what would be fetched is said.
    overwrite:
        Replace pictures that are there.
    json:
        Print paths and facts as JSON.
    """
    import json as json_format

    from longclip._progress import progress_display
    from longclip.diffusion.libraries import require_libraries

    require_libraries()
    import torch

    from longclip.diffusion.generation import GenerateConfig, generate

    config = GenerateConfig(
        prompt=sys.stdin.read().strip() if prompt == "-" else prompt,
        model=model,
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        negative=negative,
        seed=seed,
        steps=steps,
        guidance=guidance,
        width=width,
        height=height,
        count=count,
        overflow=overflow,
        clip_skip=clip_skip,
        weights=weights,
        dtype=None if dtype == "auto" else getattr(torch, dtype),
        device=device,
        revision=revision,
    )
    with progress_display() as progress:
        written = generate(
            config,
            out,
            compare=compare,
            overwrite=overwrite,
            download=download,
            on_progress=progress,
        )
    if json:
        print(json_format.dumps([{"path": str(one.path)} | one.facts for one in written]))
    else:
        for one in written:
            print(f"written: {one.path}")
