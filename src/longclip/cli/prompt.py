"""`longclip prompt`."""

from typing import Annotated

from cyclopts import Parameter

from longclip.cli.options import AsJson, full_name, read_text
from longclip.options import Text


def prompt_command(
    text: Text = "-",
    /,
    *,
    model: str | None = None,
    negative: Text | None = None,
    weights: Annotated[bool, Parameter(negative="--no-weights")] = True,
    revision: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show a prompt as text encoders read it, and what they leave out.

    What 77 and what 248 tokens leave out is marked. Each sentence stands with its tokens, their
    places, and which encoders read them.

    Example: `longclip prompt "A lighthouse at dusk. A (red boat:1.3) waits below it."`

    Example: `longclip prompt - --model stabilityai/stable-diffusion-xl-base-1.0 < prompt.txt`

    Parameters
    ----------
    text:
        The prompt; `-` reads it from standard input.
    model:
        The model whose tokenizers read it: a diffusers pipeline (directory or hub id), with the
        tokens added to them; or a CLIP or Long-CLIP as the other commands take it. A stock CLIP
        where not given. No weights are fetched.
    negative:
        A negative prompt, shown likewise.
    weights:
        Read (word:1.3), [word] and BREAK; without, they are text, as for a pipeline's own call.
    revision:
        Branch, tag or commit of a model on the hub.
    """
    import json

    model = model and full_name(model)
    from rich.console import Console

    from longclip.diffusion import prompt_view
    from longclip.diffusion.text_readers import open_readers

    prompt = read_text(text)
    readers = open_readers(model, revision)
    texts = {"prompt": prompt} | ({"negative": negative} if negative is not None else {})
    views = {
        title: prompt_view.view_prompt(text, readers, weights=weights)
        for title, text in texts.items()
    }
    if as_json:
        found = {title: prompt_view.as_json(view) for title, view in views.items()}
        print(json.dumps(found, ensure_ascii=False))
    else:
        prompt_view.print_views(list(views.items()), Console(), weights=weights)
