"""`longclip demo`."""

from pathlib import Path
from typing import Any

from longclip.cli.options import AsJson, when_interrupted


def demo_command(
    *,
    out: Path = Path("runs/demo"),
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Stretch, fine-tune and measure a small CLIP on drawn scenes: five minutes on two cores.

    `nano`, the CLIP that comes with longclip, is fine-tuned once directly and once as Long-CLIP
    does, and all three are measured. OUT holds results.json and report.html afterwards.

    Example: `longclip demo --out runs/demo`

    Parameters
    ----------
    out:
        Directory of the results.
    seed:
        Decides batch order and texts.
    """
    import json

    from longclip.demo import DemoConfig, run_demo
    from longclip.util.terminal import progress_display

    with when_interrupted("run again, it begins anew"), progress_display() as progress:
        results = run_demo(DemoConfig(out=out, seed=seed), progress)
    if as_json:
        print(json.dumps(results))
        return
    _print(results)
    print(f"numbers: {out / 'results.json'}\nreport:  {out / 'report.html'}")


def _print(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    models: dict[str, Any] = results["models"]
    table = Table(title="R@1 and accuracy in percent, 500 drawn scenes each", title_justify="left")
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    for length in ("long", "short"):
        for direction in ("text_to_image", "image_to_text"):
            heading = f"{length} texts, {direction.replace('_', ' ')}"
            found = [values[length][length][direction]["R@1"] for values in models.values()]
            table.add_row(heading, *(f"{100 * share:.1f}" for share in found))
    table.add_section()
    for task in next(iter(models.values()))["short"]["zero_shot"]:
        found = [values["short"]["zero_shot"][task]["top1"] for values in models.values()]
        table.add_row(f"zero-shot {task}", *(f"{100 * share:.1f}" for share in found))
    Console().print(table)
    print(f"{results['seconds']:.0f} s in all")
