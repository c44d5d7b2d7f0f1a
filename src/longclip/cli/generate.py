"""`longclip generate`."""

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated

from longclip.cli.options import (
    AS_OPTIONS,
    AsJson,
    full_name,
    read_text,
    say_waiting,
    when_interrupted,
)
from longclip.diffusion.config import GenerateConfig
from longclip.options import option


@dataclass(frozen=True)
class GenerateOptions(GenerateConfig):
    """Files of the pictures, over `GenerateConfig`."""

    _: KW_ONLY
    out: Path = option(
        "The picture, a .png file; with --count 2 and more, -1, -2 … is added to the name."
    )
    compare: bool = option(
        "Draw the prompt with the original encoders, too, which cut it at 77 tokens, and put both "
        "pictures side by side, over the prompt with the part that was cut marked in it.",
        False,
    )
    download: bool = option(
        "Fetch weights that are not on this machine. Without it, the command prints what it would "
        "fetch.",
        False,
    )
    overwrite: bool = option("Replace pictures that are there.", False)


def generate_command(
    options: Annotated[GenerateOptions, AS_OPTIONS], *, as_json: AsJson = False
) -> None:
    """Make pictures of long prompts with Stable Diffusion or SDXL.

    It takes pipelines of Stable Diffusion 1.x and 2.x and of SDXL. The pipeline's text encoders are
    exchanged for ones that read 248 tokens; nothing is retrained. A picture holds in its text
    chunks what it was made from.

    Example: `longclip generate "A lighthouse at dusk. …" --model MODEL --out lighthouse.png`

    Example: `longclip generate - --model stable-diffusion-v1-5/stable-diffusion-v1-5
    --text-encoder BeichenZhang/LongCLIP-L --compare --out both.png < prompt.txt`
    """
    options = replace(
        options,
        text_encoder=options.text_encoder and full_name(options.text_encoder),
        text_encoder_2=options.text_encoder_2 and full_name(options.text_encoder_2),
    )
    say_waiting(f"opening {options.model} …")
    import json

    from longclip.diffusion.generation import generate
    from longclip.util.terminal import progress_display

    options = replace(options, prompt=read_text(options.prompt).strip())
    remark = "pictures that were finished are kept"
    with when_interrupted(remark), progress_display() as progress:
        written = generate(
            options,
            options.out,
            compare=options.compare,
            overwrite=options.overwrite,
            download=options.download,
            on_progress=progress,
        )
    if as_json:
        print(json.dumps([{"path": str(one.path)} | one.facts for one in written]))
    else:
        for one in written:
            print(f"written: {one.path}")
