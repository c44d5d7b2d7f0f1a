"""`longclip compare`, and the files that it writes as `longclip eval` does."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from longclip.cli.options import AS_OPTIONS, AsJson
from longclip.options import option

if TYPE_CHECKING:
    from longclip.evaluation.disagreements import Disagreements
    from longclip.evaluation.results import EvaluationResult


@dataclass(frozen=True, kw_only=True)
class ResultFiles:
    """Files that results are written into, beside what is printed."""

    report: Path | None = option("Write a page of all results there.", None)
    csv: Path | None = option("Write every recall and accuracy there, a line each.", None)
    latex: Path | None = option("Write a table there.", None)

    def write(
        self, results: "Sequence[EvaluationResult]", gallery: "Disagreements | None" = None
    ) -> None:
        """Write the files that are asked for.

        Raises:
            OSError: a file cannot be written.
        """
        from longclip.evaluation.tables import as_csv, as_latex
        from longclip.report import model_report, write_report
        from longclip.util.files import write_text

        if self.csv is not None:
            write_text(self.csv, as_csv(results))
        if self.latex is not None:
            write_text(self.latex, as_latex(results))
        if self.report is not None:
            command = shlex.join(["longclip", *sys.argv[1:]])
            write_report(self.report, model_report(results, gallery, command))


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ResultFiles):
    """Files that the comparison is written into."""

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
        A file that `longclip eval --results` wrote.
    files:
        More of them.
    """
    import json

    from longclip.evaluation.results import read_all_results
    from longclip.evaluation.tables import print_results, results_tables

    results = read_all_results([file, *files])
    if as_json:
        found = []
        for collection in dict.fromkeys(result.collection for result in results):
            own = {result.name: [result] for result in results if result.collection == collection}
            found += [asdict(table) for table in results_tables(own)]
        print(json.dumps({"tables": found}, ensure_ascii=False))
    else:
        print_results(results)
    options.write(results)
