"""`longclip runs`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from longclip.errors import UsageError

_Flag = Annotated[bool, Parameter(negative="")]


def runs_command(
    *directories: Path,
    compare: _Flag = False,
    metric: str | None = None,
    plot: Path | None = None,
    json: _Flag = False,
) -> None:
    """List training runs: how far each is, how it goes, and what was measured on the way.

    A run is running while it writes; one that has not written for several times its usual pause
    is stopped. Nothing in it is changed, so a run may be looked at while it trains.

    Example: `longclip runs`

    Example: `longclip runs runs/paper runs/direct --compare`

    Example: `longclip runs experiments --plot curves.html`

    Parameters
    ----------
    directories:
        Runs, or directories with runs below them; `runs` where none is given.
    compare:
        Show the settings that differ and the last metrics, runs side by side.
    metric:
        Which evaluation the table shows, where there are several.
    plot:
        Draw losses, learning rates and evaluations there: a page (.html) or a picture (.svg).
    json:
        Print all there is as JSON, in place of tables.
    """
    from longclip._files import check_writable
    from longclip.runs.read import find_runs
    from longclip.runs.table import as_json, print_comparison, print_runs

    if plot is not None:
        if plot.suffix not in (".html", ".svg"):
            raise UsageError(f"--plot {plot}: name a file that ends in .html or .svg")
        check_writable(plot)
    runs = find_runs(directories or (Path("runs"),))
    if json:
        print(as_json(runs))
    else:
        print_runs(runs, metric)
        if compare:
            print_comparison(runs)
    if plot is not None:
        from longclip.runs.curves import write_curves

        write_curves(plot, runs)
        if not json:
            print(f"written: {plot}")
