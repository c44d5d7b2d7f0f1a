"""`longclip compare`."""

from pathlib import Path


def compare_command(
    file: Path,
    /,
    *files: Path,
    csv: Path | None = None,
    latex: Path | None = None,
    report: Path | None = None,
) -> None:
    """Put results of several `longclip eval --json` side by side.

    Later models are compared with the first on the same queries: a star marks differences with
    p < 0.05 (paired bootstrap over images; McNemar's test for classification). Collections of one
    name but other content are refused.

    Example: `longclip compare base.json mine.json --latex table.tex`

    Parameters
    ----------
    file:
        What `longclip eval --json` wrote.
    files:
        More of them.
    csv:
        Write every recall and accuracy there, a line each.
    latex:
        Write a table there.
    report:
        Write a page there, without curves and queries, which need the models.
    """
    import shlex
    import sys

    from longclip._files import write_text
    from longclip.evaluation.export import as_csv, as_latex, print_results
    from longclip.evaluation.model_report import model_report
    from longclip.evaluation.report import write_report
    from longclip.evaluation.results import read_all_results

    results = read_all_results([file, *files])
    print_results(results)
    if csv is not None:
        write_text(csv, as_csv(results))
    if latex is not None:
        write_text(latex, as_latex(results))
    if report is not None:
        write_report(report, model_report(results, None, shlex.join(["longclip", *sys.argv[1:]])))
