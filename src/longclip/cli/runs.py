"""`longclip runs`."""

from pathlib import Path

from longclip.cli.options import AsJson
from longclip.errors import UsageError


def runs_command(
    *directories: Path,
    compare: bool = False,
    metric: str | None = None,
    plot: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """List training runs: progress, losses and evaluations of each.

    A run is running while its process lives. One that has ended early was stopped (by a signal or
    ^C), has failed, or was killed; a line says so, and where it can go on. Nothing in it is
    changed, so a run may be looked at while it trains.

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
        The evaluation that the table shows, where there are several.
    plot:
        Draw losses, learning rates and evaluations there: a page (.html) or a picture (.svg).
    """
    from longclip.runs import runs_table
    from longclip.runs.run import find_runs
    from longclip.util.files import check_writable

    if plot is not None:
        if plot.suffix not in (".html", ".svg"):
            raise UsageError(f"--plot {plot}: name a file that ends in .html or .svg")
        check_writable(plot)
    runs = find_runs(directories or (Path("runs"),))
    if as_json:
        print(runs_table.as_json(runs))
    else:
        runs_table.print_runs(runs, metric)
        if compare:
            runs_table.print_comparison(runs)
    if plot is not None:
        from longclip.report.run_curves import write_curves

        write_curves(plot, runs)
        if not as_json:
            print(f"written: {plot}")
