"""`longclip prompt`."""

import sys
from typing import Annotated

from cyclopts import Parameter


def prompt_command(
    text: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    model: str | None = None,
    negative: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    weights: bool = True,
    revision: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show a prompt as text encoders read it: its tokens, and what 77 and 248 of them leave out.

    Each sentence stands with its tokens, where they are, and who reads them.

    Example: `longclip prompt "A lighthouse at dusk. A (red boat:1.3) waits below it."`

    Example: `longclip prompt - --model stabilityai/stable-diffusion-xl-base-1.0 < prompt.txt`

    Parameters
    ----------
    text:
        The prompt; `-` reads it from standard input.
    model:
        Whose tokenizers: a diffusers pipeline (directory or hub id), with the tokens added to
        them; or a CLIP or Long-CLIP as the other commands take it. A stock CLIP where not given.
        No weights are fetched.
    negative:
        A negative prompt, shown likewise.
    weights:
        Read (word:1.3), [word] and BREAK; without, they are text, as for a pipeline's own call.
    revision:
        Branch, tag or commit of a model on the hub.
    json:
        Print everything as JSON.
    """
    import json as json_format

    from rich.console import Console

    from longclip.diffusion.prompt_print import print_views
    from longclip.diffusion.prompt_view import as_json, view_prompt
    from longclip.diffusion.text_readers import open_readers

    prompt = sys.stdin.read() if text == "-" else text
    readers = open_readers(model, revision)
    texts = {"prompt": prompt} | ({"negative": negative} if negative is not None else {})
    views = {title: view_prompt(text, readers, weights=weights) for title, text in texts.items()}
    if json:
        found = {title: as_json(view) for title, view in views.items()}
        print(json_format.dumps(found, ensure_ascii=False))
    else:
        print_views(list(views.items()), Console(), weights=weights)
