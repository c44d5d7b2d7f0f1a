"""`longclip benchmarks`."""

from typing import TYPE_CHECKING

from longclip.cli.options import MAX_COLUMNS, AsJson, paragraph

if TYPE_CHECKING:
    from longclip.evaluation.benchmarks import Benchmark


def benchmarks_command(
    name: str | None = None,
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """List the benchmarks, their sizes and licences; or describe one.

    The list says where to get them, too.

    Example: `longclip benchmarks urban1k`

    Parameters
    ----------
    name:
        One of them: its protocol, its layout on disk, its source and the published numbers too.
    """
    import json
    from shutil import get_terminal_size

    from longclip.evaluation.benchmarks import BENCHMARKS, PUBLISHED, SUITES
    from longclip.evaluation.benchmarks.catalogue import find_benchmark

    chosen = list(BENCHMARKS.values()) if name is None else [find_benchmark(name)]
    width = min(get_terminal_size().columns, MAX_COLUMNS)
    if as_json:
        found = [
            {
                **benchmark.to_json(),
                "suites": [suite for suite, names in SUITES.items() if benchmark.name in names],
                "published": {
                    model: {**numbers.metrics, "source": numbers.source}
                    for model, numbers in PUBLISHED.get(benchmark.name, {}).items()
                },
            }
            for benchmark in chosen
        ]
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
        _print_description(chosen[0], width)


def _counts(benchmark: "Benchmark") -> str:
    about = "" if benchmark.exact else "about "
    number = benchmark.classes or benchmark.texts
    kind = "classes" if benchmark.classes else "texts"
    return f"{about}{benchmark.images:,} images, {number:,} {kind}"


def _print_description(benchmark: "Benchmark", width: int) -> None:
    from longclip.evaluation.benchmarks import PUBLISHED

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
    for model, numbers in PUBLISHED.get(benchmark.name, {}).items():
        values = ", ".join(f"{metric} {value:.1f}" for metric, value in numbers.metrics.items())
        print(paragraph(f"published {model}: {values} ({numbers.source})", width, hanging=10))
