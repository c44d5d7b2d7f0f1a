"""`longclip demo`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


def demo_command(
    *,
    out: Path = Path("runs/demo"),
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run the main job on the embedded scenes, in a few minutes on two cores.

    The bundled CLIP is stretched and fine-tuned, once directly and once as Long-CLIP does, and all
    three are measured. OUT holds results.json and report.html afterwards.

    Example: `longclip demo --out runs/demo`

    Parameters
    ----------
    out:
        Directory of the results.
    seed:
        Decides batch order and texts.
    json:
        Print results.json in place of the table.
    """
    import json as json_format

    from longclip._progress import progress_display
    from longclip.demo import DemoConfig, run_demo

    with progress_display() as progress:
        results = run_demo(DemoConfig(out=out, seed=seed), progress)
    if json:
        print(json_format.dumps(results))
        return
    _print(results)
    print(f"numbers: {out / 'results.json'}\nreport:  {out / 'report.html'}")


def _print(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    models: dict[str, Any] = results["models"]
    table = Table(title="percent; 500 images each, drawn scenes", title_justify="left")
    table.add_column("model")
    for heading in ("long T2I R@1", "long I2T R@1", "short T2I R@1", "short I2T R@1"):
        table.add_column(heading, justify="right")
    tasks = next(iter(models.values()))["short"]["zero_shot"]
    for task in tasks:
        table.add_column(f"zero-shot {task}", justify="right")
    for name, values in models.items():
        long, short = values["long"]["long"], values["short"]["short"]
        cells = [
            kind[direction]["R@1"]
            for kind in (long, short)
            for direction in ("text_to_image", "image_to_text")
        ]
        cells += [values["short"]["zero_shot"][task]["top1"] for task in tasks]
        table.add_row(name, *(f"{100 * cell:.1f}" for cell in cells))
    Console().print(table)
    seconds = results["seconds"]
    print(f"{seconds:.0f} s in all")
