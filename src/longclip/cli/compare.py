"""`longclip compare`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from longclip.cli.options import AS_OPTIONS, AsJson
from longclip.options import option


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Where the comparison goes."""

    csv: Path | None = option("Write every recall and accuracy there, a line each.", None)
    latex: Path | None = option("Write a table there.", None)
    report: Path | None = option(
        "Write a page there, without curves and queries, which need the models.", None
    )


def compare_command(
    file: Path,
    /,
    *files: Path,
    options: Annotated[CompareOptions, AS_OPTIONS] = CompareOptions(),
    as_json: AsJson = False,
) -> None:
    """Put results of several `longclip eval --results` side by side.

    Later models are compared with the first on the same queries: a star marks differences with
    p < 0.05 (paired bootstrap over images; McNemar's test for classification). Collections of one
    name but other content are refused.

    Example: `longclip compare base.json mine.json --latex table.tex`

    Parameters
    ----------
    file:
        What `longclip eval --results` wrote.
    files:
        More of them.
    """
    import json
    import shlex
    import sys

    from longclip.evaluation.results import read_all_results
    from longclip.evaluation.tables import as_csv, as_latex, print_results, results_tables
    from longclip.report import model_report, write_report
    from longclip.util.files import write_text

    results = read_all_results([file, *files])
    if as_json:
        found = []
        for collection in dict.fromkeys(result.collection for result in results):
            own = {result.name: [result] for result in results if result.collection == collection}
            found += [asdict(table) for table in results_tables(own)]
        print(json.dumps({"tables": found}, ensure_ascii=False))
    else:
        print_results(results)
    if options.csv is not None:
        write_text(options.csv, as_csv(results))
    if options.latex is not None:
        write_text(options.latex, as_latex(results))
    if options.report is not None:
        command = shlex.join(["longclip", *sys.argv[1:]])
        write_report(options.report, model_report(results, None, command))
