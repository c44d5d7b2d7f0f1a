"""`longclip eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from longclip.evaluation import EvaluationResult


def eval_command(
    model: str,
    /,
    *,
    data: Annotated[tuple[str, ...], Parameter(negative="")] = ("scenes",),
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    image_column: str | None = None,
    short_column: str | None = None,
    long_column: str | None = None,
    label_column: str | None = None,
    batch_size: int = 64,
    max_bad_fraction: float = 0.01,
    device: str = "cpu",
    bfloat16: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure a model: long and short retrieval and zero-shot classification.

    What is measured depends on what the data has: long descriptions (or several short captions,
    joined), short captions, labels. Recall is by cosine, ties count against the model, and pool
    sizes stand with every number.

    Example: `longclip eval nano --data scenes --data photos.parquet --json nano.json`

    Parameters
    ----------
    model:
        A model directory, a checkpoint file, a hub name, or `nano`.
    data:
        `scenes` (or one of `scenes/test` and `scenes/test-short`), a .parquet or .jsonl file, or
        a folder of pictures.
        Repeat the option for several.
    json:
        Write the results there; `-` prints them to standard output in place of the tables.
    image_column:
        The column with pictures, where it has an unusual name; likewise the next three.
    short_column:
        The column with short captions.
    long_column:
        The column with long descriptions.
    label_column:
        The column with class names or numbers.
    batch_size:
        Images per forward pass.
    max_bad_fraction:
        Share of unreadable pictures at which a collection is refused.
    device:
        cpu, cuda, cuda:1 …
    bfloat16:
        Run the model in bfloat16: faster, and scores move in the third digit.
    """
    import json as json_format

    import torch

    import longclip
    from longclip._files import write_text
    from longclip._progress import progress_display
    from longclip.data import Columns, open_for_evaluation
    from longclip.evaluation import evaluate

    columns = Columns(image_column, short_column, long_column, label_column)
    collections = [c for name in data for c in open_for_evaluation(name, columns=columns)]
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    encoder = longclip.load(model, dtype=dtype, device=device)
    with progress_display() as progress:
        results = [
            evaluate(
                encoder,
                collection,
                name=model,
                batch_size=batch_size,
                max_bad_fraction=max_bad_fraction,
                on_progress=progress,
            )
            for collection in collections
        ]
    content = json_format.dumps([result.to_json() for result in results], indent=2)
    if json is not None and str(json) == "-":
        print(content)
        return
    for result in results:
        _print(result)
    if json is not None:
        write_text(json, content + "\n")
        print(f"written: {json}")


def _print(result: "EvaluationResult") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{result.name} on {result.collection} (context {result.context_length})",
        title_justify="left",
    )
    for heading in ("task", "images", "texts or classes", "R@1 / top-1", "R@5", "R@10"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for kind, retrieval in (("long", result.long), ("short", result.short)):
        if retrieval is None:
            continue
        recall = retrieval.recall
        for direction, values in (
            ("text to image", recall.text_to_image),
            ("image to text", recall.image_to_text),
        ):
            table.add_row(
                f"{kind}, {direction}",
                str(recall.images),
                str(recall.texts),
                *(_percent(value) for value in values.values()),
            )
    for task, accuracy in result.zero_shot.items():
        counts = str(accuracy.images), str(accuracy.classes)
        table.add_row(f"zero-shot, {task}", *counts, _percent(accuracy.accuracy))
    Console().print(table)
    cut: Any = result.long and result.long.truncated
    if cut:
        print(f"{cut} long texts were cut to {result.context_length} tokens")
    for bad in result.bad_images:
        print(f"left out: {bad.reason}")


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
