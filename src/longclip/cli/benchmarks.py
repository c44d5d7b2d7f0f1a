"""`longclip benchmarks`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from longclip.cli.options import MAX_COLUMNS, AsJson, paragraph
from longclip.errors import UsageError

if TYPE_CHECKING:
    from longclip.evaluation.benchmarks import Benchmark
    from longclip.evaluation.leaderboard import Leaderboard


def benchmarks_command(
    name: str | None = None,
    /,
    *,
    results: Annotated[tuple[Path, ...], Parameter(name="--with")] = (),
    as_json: AsJson = False,
) -> None:
    """List the benchmarks, their sizes and licences; or describe one, with its leaderboard.

    The list says where to get them, too.

    Example: `longclip benchmarks urban1k`

    Example: `longclip benchmarks urban1k --with mine.json`

    Parameters
    ----------
    name:
        One of them: its protocol, its layout on disk, its source and the published numbers too,
        best first.
    results:
        A file that `longclip eval --results` wrote, whose models are put in their places among the
        published ones. Repeat the option for several.
    """
    import json
    from shutil import get_terminal_size

    from longclip.evaluation.benchmarks import BENCHMARKS, PUBLISHED, SUITES
    from longclip.evaluation.benchmarks.catalogue import find_benchmark
    from longclip.evaluation.leaderboard import leaderboard

    if results and name is None:
        raise UsageError(
            f"--with {results[0]} needs the name of a benchmark: longclip benchmarks NAME --with …"
        )
    board = None
    if name is not None:
        measured = []
        if results:
            from longclip.evaluation.results import read_all_results

            measured = read_all_results(results)
        board = leaderboard(find_benchmark(name), measured)
    chosen = list(BENCHMARKS.values()) if name is None else [find_benchmark(name)]
    width = min(get_terminal_size().columns, MAX_COLUMNS)
    if as_json:
        found = [
            {
                **benchmark.to_json(),
                "suites": [suite for suite, names in SUITES.items() if benchmark.name in names],
                "published": {
                    model: numbers.to_json()
                    for model, numbers in PUBLISHED.get(benchmark.name, {}).items()
                },
            }
            for benchmark in chosen
        ]
        if board:
            found[0] |= {
                "leaderboard": [row.to_json() for row in board.rows],
                "not_in_it": list(board.refused),
            }
        print(json.dumps(found if name is None else found[0], ensure_ascii=False))
    elif name is None:
        for benchmark in chosen:
            size = "size not known" if benchmark.gigabytes is None else benchmark.size
            print(f"{benchmark.name:<19}{benchmark.task:<11}{_counts(benchmark)}, {size}")
            get = benchmark.get.partition(". ")[0].removesuffix(".")
            for label, text in (
                ("source", benchmark.source),
                ("licence", benchmark.licence),
                ("get", get + (", or `longclip eval --download`" if benchmark.hub else "")),
            ):
                print(paragraph(f"{label + ':':<9}{text}", width, indent=4))
            print()
        for suite, names in SUITES.items():
            print(paragraph(f"suite {suite}: {', '.join(names)}", width))
        print("\n`longclip benchmarks NAME` shows the protocol and the layout on disk.")
    else:
        assert board is not None
        _print_description(chosen[0], width)
        _print_leaderboard(board, width)


def _counts(benchmark: "Benchmark") -> str:
    about = "" if benchmark.exact else "about "
    if benchmark.questions:
        return f"{about}{benchmark.questions:,} questions"
    number = benchmark.classes or benchmark.texts
    kind = "classes" if benchmark.classes else "texts"
    return f"{about}{benchmark.images:,} images, {number:,} {kind}"


def _print_description(benchmark: "Benchmark", width: int) -> None:
    print(f"{benchmark.name}: {benchmark.title}")
    print(f"{benchmark.task}, {_counts(benchmark)}")
    hub = f"huggingface.co/datasets/{benchmark.hub}" if benchmark.hub else "no; get it by hand"
    for label, text in (
        ("protocol", benchmark.protocol),
        ("source", benchmark.source),
        ("licence", benchmark.licence),
        ("size", benchmark.size),
        ("get", benchmark.get),
        ("download", hub),
        ("folder", " or ".join(benchmark.folders) + ", in the folder that --root names"),
        ("layout", benchmark.layout),
        ("measure", f"longclip eval MODEL --data {benchmark.name} --root FOLDER"),
    ):
        print(paragraph(f"{label:<10}{text}", width, hanging=10))


_HEADINGS = {"image_to_text": "I→T", "text_to_image": "T→I", "top1": "top-1"}
_TOWERS = {"clip": "CLIP", "clip and more": "CLIP+", "other": "other"}


def _print_leaderboard(board: "Leaderboard", width: int) -> None:
    """Print a line for each model, and below what to know of the published ones."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from longclip.evaluation.leaderboard import ORDER

    if board.rows:
        headings = [" ".join(_HEADINGS.get(w, w) for w in m.split()) for m in board.metrics]
        order = f"by the {ORDER}" if board.has_mean else "best first"
        print(f"\nleaderboard in percent, {order}\n")
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
        shown.add_column("model", overflow="fold")
        shown.add_column("towers")
        for heading in (["mean"] if board.has_mean else []) + headings:
            shown.add_column(heading, justify="right")
        shown.add_column("note", justify="right")
        notes: dict[str, int] = {}
        for row in board.rows:
            values = [row.mean] if board.has_mean else []
            values += [row.metrics.get(metric) for metric in board.metrics]
            cells = ["–" if value is None else f"{value:.1f}" for value in values]
            if row.published is None:
                shown.add_row(f"→ {escape(row.model)}", "yours", *cells, "", style="bold")
                continue
            note = "; ".join((row.published.source, *row.published.reservations))
            number = notes.setdefault(note, len(notes) + 1)
            shown.add_row(escape(row.model), _TOWERS[row.published.towers], *cells, str(number))
        Console(width=width).print(shown, highlight=False)
        kinds = (
            "towers: CLIP, those of a plain CLIP at inference; CLIP+, with parts added; other, "
            "something else"
        )
        if notes:
            print("\n" + paragraph(kinds, width, hanging=8))
        for note, number in notes.items():
            print(paragraph(f"{number:>3}  {note}", width, hanging=5))
    for reason in board.refused:
        print(paragraph(reason, width, hanging=2))
