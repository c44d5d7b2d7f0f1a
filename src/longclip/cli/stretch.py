"""`longclip stretch`."""

from dataclasses import dataclass
from typing import Annotated

from longclip.cli.options import AS_OPTIONS, AsJson, full_name
from longclip.options import check_options, option
from longclip.spec import KEEP, StretchMethod


@dataclass(frozen=True, kw_only=True)
class StretchOptions:
    """Length of a new position table, and the way from the old one to it."""

    context_length: int | None = option(
        "Tokens the new model reads; by default what suits it: 248 of 77, 196 of 64, 128 of 32.",
        None,
    )
    keep: int = option("Number of first positions that stay bit for bit as they are.", KEEP)
    ratio: float | None = option(
        "New positions per old one behind those; by default what fills the table (4 for 77 to "
        "248).",
        None,
    )
    method: StretchMethod = option(
        "`knowledge-preserved`, or `linear`, which spreads all positions evenly.",
        "knowledge-preserved",
    )

    def __post_init__(self) -> None:
        check_options(self)


def stretch_command(
    source: str,
    destination: str,
    /,
    *,
    options: Annotated[StretchOptions, AS_OPTIONS] = StretchOptions(),
    as_json: AsJson = False,
) -> None:
    """Give a CLIP a longer position table, without training.

    The result loads wherever the original does and reads `context-length` tokens. Fine-tune it
    with `longclip train` to make use of them. A model that reads its padding (SigLIP) means nothing
    before that.

    Example: `longclip stretch nano runs/nano-248 --context-length 248 --keep 20`

    Parameters
    ----------
    source:
        A model directory, a checkpoint file, a hub or short name, or `nano`.
    destination:
        Where the longer model is written.
    """
    import json
    from pathlib import Path

    source = full_name(source)
    import longclip
    from longclip.checkpoints.hub import Card, source_name
    from longclip.model.stretch import why_this_length

    model = longclip.load(source, dtype=None)
    method = options.method
    longer = longclip.stretch(
        model, options.context_length, options.keep, method, ratio=options.ratio
    )
    kept = options.keep if method == "knowledge-preserved" else 0
    why = why_this_length(longer.context_length, named=options.context_length is not None)
    card = Card(
        title=Path(destination).name,
        introduction=f"Stretched by longclip {longclip.__version__}, not trained since.",
        facts={
            "source": source_name(source),
            "tokens": f"{model.context_length} → {longer.context_length} ({why})",
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
    if as_json:
        print(json.dumps(result))
    else:
        print(f"{source}: {model.context_length} → {longer.context_length} tokens, {destination}")
