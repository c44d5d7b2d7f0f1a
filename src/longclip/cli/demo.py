"""`longclip demo`."""

from pathlib import Path
from typing import Any

from longclip.cli.options import AsJson, when_interrupted


def demo_command(
    *,
    out: Path = Path("runs/demo"),
    seed: int = 0,
    full: bool = False,
    as_json: AsJson = False,
) -> None:
    """Stretch, fine-tune and measure a small CLIP on drawn scenes: six minutes on two cores.

    `nano`, the CLIP that comes with longclip, is fine-tuned directly, with either half of
    Long-CLIP's method, with both, and by the recipe `best`, and all six models are measured. OUT
    holds results.json and report.html afterwards.

    Example: `longclip demo --out runs/demo`

    Parameters
    ----------
    out:
        Directory of the results.
    seed:
        Decides batch order and texts.
    full:
        Make every run three times, with the seeds 0, 1 and 2, and show their spread: a quarter of
        an hour.
    """
    import json

    from longclip.demo import DemoConfig, run_demo
    from longclip.errors import UsageError
    from longclip.util.terminal import progress_display

    if full and seed:
        raise UsageError("--full takes the seeds 0, 1 and 2; leave out --seed")
    config = DemoConfig(out=out, seeds=(seed,))
    with when_interrupted("run again, it begins anew"), progress_display() as progress:
        results = run_demo(config.full() if full else config, progress)
    if as_json:
        print(json.dumps(results))
        return
    _print(results)
    print(f"numbers: {out / 'results.json'}\nreport:  {out / 'report.html'}")


def _print(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from longclip.evaluation import Cell

    models: dict[str, list[dict[str, Any]]] = results["models"]
    pictures = next(iter(models.values()))[0]["short"]["short"]["images"]
    title = f"R@1 and accuracy in percent, {pictures} drawn scenes each"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")

    def add(heading: str, *path: str) -> None:
        cells = []
        for runs in models.values():
            values = []
            for run in runs:
                found: Any = run
                for key in path:
                    found = found[key]
                values.append(float(found))
            cell = Cell.of(values)
            spread = f" ± {100 * cell.spread:.1f}" if cell.runs > 1 else ""
            cells.append(f"{cell.percent:.1f}{spread}")
        table.add_row(heading, *cells)

    for length in ("long", "short"):
        for direction in ("text_to_image", "image_to_text"):
            heading = f"{length} texts, {direction.replace('_', ' ')}"
            add(heading, length, length, direction, "R@1")
    table.add_section()
    for task in next(iter(models.values()))[0]["short"]["zero_shot"]:
        add(f"zero-shot {task}", "short", "zero_shot", task, "top1")
    Console().print(table)
    print(f"{results['seconds']:.0f} s in all")
