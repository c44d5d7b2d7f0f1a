"""`longclip inspect`."""

from typing import Any

from longclip.cli.options import AsJson, full_name
from longclip.spec import Activation

_MAX_DIFFERENCES = 20


def inspect_command(
    source: str,
    /,
    *,
    against: str | None = None,
    activation: Activation | None = None,
    as_json: AsJson = False,
) -> None:
    """Describe a checkpoint, and how it differs from another.

    The description says, too, how its positions were stretched. With `--against` the exit code is 1
    where the two differ.

    Example: `longclip inspect runs/longclip-B --against longclip-B.pt`

    Parameters
    ----------
    source:
        A model directory, a checkpoint file of any kind, a hub or short name, or `nano`.
    against:
        Another one to compare with, tensor by tensor. For a conversion name the original here:
        then a line says whether the trained position rows of a Long-CLIP were lost.
    activation:
        For files of bare weights that do not say which one they use.
    """
    import json
    import sys

    source, against = full_name(source), against and full_name(against)
    from longclip.model.inspect import compare, lost_rows, summary
    from longclip.model.pretrained import open_checked
    from longclip.util.terminal import progress_display

    checkpoint, _ = open_checked(source, activation=activation)
    with progress_display() as progress:
        found = summary(checkpoint, progress)
    if against is not None:
        other, _ = open_checked(against, activation=activation)
        differences = compare(checkpoint, other)
        found["against"] = {
            "path": against,
            "differences": [vars(difference) for difference in differences],
            "trained_rows": lost_rows(other, checkpoint) or lost_rows(checkpoint, other),
        }
    print(json.dumps(found, default=str)) if as_json else _print(found)
    if against is not None and found["against"]["differences"]:
        sys.exit(1)


def _word(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _print(found: dict[str, Any]) -> None:
    known = found["family"] in ("CLIP", found["format"])
    kind = found["format"] if known else f"{found['format']}, {found['family']}"
    print(f"{found['path']}: {kind}, {found['parameters'] / 1e6:.1f} million weights")
    print(f"  stored as     {', '.join(found['dtypes'])}")
    print(f"  sha256        {found['sha256']}")
    print(f"  checksum      {found['checksum']}")
    for name, tower in found["towers"].items():
        parts = ", ".join(f"{key.replace('_', ' ')} {_word(value)}" for key, value in tower.items())
        print(f"  {name + ' tower':13} {parts}")
    if found["joint"]:
        print(f"  joint space   {found['joint']}")
    if "stretch" in found:
        print(f"  tokens        {found['context_length']}; {found['stretch']['text']}")
    for note in found["notes"]:
        print(f"  note          {note}")
    if "against" not in found:
        return
    against = found["against"]
    differences = against["differences"]
    if not differences:
        print(f"the same weights as {against['path']}, bit for bit")
    else:
        plural = "s" * (len(differences) > 1)
        print(f"{len(differences)} difference{plural} from {against['path']}:")
    for difference in differences[:_MAX_DIFFERENCES]:
        note = difference["note"] or f"by up to {difference['largest']:.2e}"
        print(f"  {difference['name']}: {note}")
    if len(differences) > _MAX_DIFFERENCES:
        print(f"  … and {len(differences) - _MAX_DIFFERENCES} more")
    if against["trained_rows"]:
        print(against["trained_rows"])
