"""`longclip stretch`."""

from typing import Annotated, Literal

from cyclopts import Parameter


def stretch_command(
    source: str,
    destination: str,
    /,
    *,
    context_length: int = 248,
    keep: int = 20,
    ratio: float | None = None,
    method: Literal["knowledge-preserved", "linear"] = "knowledge-preserved",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Give a CLIP a longer position table, without training.

    The result loads wherever the original does and reads `context-length` tokens. Fine-tune it
    with `longclip train` to make use of them.

    Example: `longclip stretch nano runs/nano-248 --context-length 248 --keep 20`

    Parameters
    ----------
    source:
        A model directory, a checkpoint file, a hub name, or `nano`.
    destination:
        Where the longer model is written.
    context_length:
        Tokens the new model reads.
    keep:
        How many first positions stay bit for bit as they are.
    ratio:
        New positions per old one behind those; by default what fills the table (4 for 77 to 248).
    method:
        `knowledge-preserved`, or `linear`, which spreads all positions evenly.
    json:
        Print the result as JSON.
    """
    import json as json_format
    from pathlib import Path

    import longclip
    from longclip.checkpoints.card import Card, source_name

    model = longclip.load(source, dtype=None)
    longer = longclip.stretch(model, context_length, keep, method, ratio=ratio)
    kept = keep if method == "knowledge-preserved" else 0
    card = Card(
        title=Path(destination).name,
        introduction=f"Stretched by longclip {longclip.__version__}, not trained since.",
        facts={
            "source": source_name(source),
            "tokens": f"{model.context_length} → {longer.context_length}",
            "method": f"{method}, {kept} positions kept",
        },
    )
    longclip.save(longer, destination, card=card.text())
    result = {
        "source": source,
        "destination": destination,
        "from": model.context_length,
        "context_length": longer.context_length,
        "method": method,
        "keep": kept,
    }
    if json:
        print(json_format.dumps(result))
    else:
        print(f"{source}: {model.context_length} → {longer.context_length} tokens, {destination}")
