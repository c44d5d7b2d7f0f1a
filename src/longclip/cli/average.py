"""`longclip average`."""

from longclip.cli.options import AsJson, full_name
from longclip.errors import UsageError


def average_command(
    tuned: str,
    original: str,
    destination: str,
    /,
    *,
    share: float = 0.5,
    as_json: AsJson = False,
) -> None:
    """Average a fine-tuned CLIP with what it started from (WiSE-FT).

    Models between the two often keep most of what was learned and lose less of what was known. An
    original that reads fewer tokens is stretched first.

    Example: `longclip average runs/paper/model nano runs/averaged --share 0.5`

    Parameters
    ----------
    tuned:
        The fine-tuned model: a model directory, a checkpoint file, a hub or short name, or `nano`.
    original:
        The model it was fine-tuned from, likewise; stretched or not.
    destination:
        Where the average is written.
    share:
        How much of it is the original, from 0 to 1.
    """
    import json
    from pathlib import Path

    tuned, original = full_name(tuned), full_name(original)
    import longclip
    from longclip.checkpoints.hub import Card, source_name
    from longclip.model.average import average

    if not 0 <= share <= 1:
        raise UsageError(f"--share is {share}, must be from 0 to 1")
    first, second = (longclip.load(source, dtype=None) for source in (tuned, original))
    averaged = average(first, second, share)
    tokens = f"{first.context_length} and {second.context_length}"
    card = Card(
        title=Path(destination).name,
        introduction=f"Two models' weights averaged by longclip {longclip.__version__} "
        "(WiSE-FT, Wortsman et al. 2022).",
        facts={
            "fine-tuned model": source_name(tuned),
            "original": source_name(original),
            "share of the original": f"{share:g}",
            "tokens": f"{averaged.context_length} (averaged from models of {tokens})",
        },
    )
    longclip.save(averaged, destination, card=card.text())
    if not as_json:
        print(f"{1 - share:.4g} × {tuned} + {share:.4g} × {original} → {destination}")
        return
    result = {"tuned": tuned, "original": original, "destination": destination, "share": share}
    print(json.dumps(result | {"context_length": averaged.context_length}))
