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
    from statistics import fmean

    from rich.console import Console
    from rich.table import Table

    from longclip.evaluation import Cell

    models: dict[str, list[dict[str, Any]]] = results["models"]
    pictures = next(iter(models.values()))[0]["short"]["short"]["images"]
    title = f"R@1, and mean accuracy of zero-shot tasks, in percent; {pictures} drawn scenes each"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("long T2I", "long I2T", "short T2I", "short I2T", "zero-shot"):
        table.add_column(heading, justify="right")
    for name, runs in models.items():
        columns = [
            [run[length][length][direction]["R@1"] for run in runs]
            for length in ("long", "short")
            for direction in ("text_to_image", "image_to_text")
        ]
        tasks = [run["short"]["zero_shot"].values() for run in runs]
        columns.append([fmean(task["top1"] for task in own) for own in tasks])
        cells = [Cell.of(values) for values in columns]
        spreads = [f" ± {100 * cell.spread:.1f}" if cell.runs > 1 else "" for cell in cells]
        shown = (f"{cell.percent:.1f}{spread}" for cell, spread in zip(cells, spreads, strict=True))
        table.add_row(name, *shown)
    Console().print(table)
    print(f"{results['seconds']:.0f} s in all")
