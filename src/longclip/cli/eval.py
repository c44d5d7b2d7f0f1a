"""`longclip eval`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from longclip.cli.options import AS_OPTIONS, AsJson
from longclip.errors import UsageError
from longclip.evaluation.config import EvaluateConfig
from longclip.options import Dtype, device_option, dtype_option, option


@dataclass(frozen=True, kw_only=True)
class EvalOptions(EvaluateConfig):
    """What is measured, on which data, and where results go."""

    data: tuple[str, ...] = option(
        "A benchmark (`longclip benchmarks` lists them) or BENCHMARK=PATH, `scenes` (or one of "
        "`scenes/test` and `scenes/test-short`), a .parquet or .jsonl file, or a folder of "
        "pictures. Repeat the option for several.",
        ("scenes",),
    )
    suite: str | None = option("Several benchmarks at once: paper, long, short or zero-shot.", None)
    root: Path = option("Where benchmarks lie, a folder each.", Path("data"))
    download: bool = option(
        "Fetch benchmarks that are not there from the hub, where it has them.", False
    )
    allow_partial: bool = option(
        "Take benchmarks that are not complete; results are marked.", False
    )
    report: Path | None = option("Write a page of all results there.", None)
    results: Path | None = option("Write the results there, for `longclip compare`.", None)
    csv: Path | None = option("Write every recall and accuracy there, a line each.", None)
    latex: Path | None = option("Write a table there.", None)
    image_column: str | None = option(
        "The column with pictures, where it has an unusual name; likewise the next three.", None
    )
    short_column: str | None = option("The column with short captions.", None)
    long_column: str | None = option("The column with long descriptions.", None)
    label_column: str | None = option("The column with class names or numbers.", None)
    device: str = device_option()
    dtype: Dtype = dtype_option(
        "float32 on every device, so that numbers agree between machines; with bfloat16 scores "
        "move in the third digit"
    )
    cache: Path | None = option(
        "Where embeddings are kept, so that a second run is quick; the user's cache directory.",
        None,
    )
    no_cache: bool = option("Embed everything anew and keep nothing.", False)


def eval_command(
    model: str,
    /,
    *models: str,
    options: Annotated[EvalOptions, AS_OPTIONS] = EvalOptions(),
    as_json: AsJson = False,
) -> None:
    """Measure models: retrieval and zero-shot classification.

    Retrieval is by long and by short texts, and --probes measures what it hides. What is measured
    depends on what the data has: long descriptions (or several short captions, joined), short
    captions, labels; a benchmark pins it. Recall is by cosine, ties count against the model, and
    pool sizes stand with every number.

    Example: `longclip eval nano --data scenes --data photos.parquet --results nano.json`

    Example: `longclip eval nano mine=runs/paper/model --data scenes/test --report out.html`

    Example: `longclip eval runs/paper/model --suite paper --root datasets --probes`

    Parameters
    ----------
    model:
        A model directory, a checkpoint file, a hub name, or `nano`; another library's as
        `transformers:NAME`, `open_clip:ARCHITECTURE/WEIGHTS` or `sentence-transformers:NAME`;
        arrays as `npy:DIRECTORY`. NAME=MODEL gives it a name in results.
    models:
        More of them, to be compared with the first.
    """
    import shlex
    import sys

    import torch

    from longclip.data import Columns
    from longclip.evaluation import results
    from longclip.evaluation.cache import EmbeddingCache
    from longclip.evaluation.encoders import open_encoder
    from longclip.evaluation.session import named, open_requests, run_session
    from longclip.evaluation.tables import as_csv, as_latex, print_results
    from longclip.report import model_report, write_report
    from longclip.util.files import check_writable, write_text
    from longclip.util.hardware import pick_device, pick_dtype
    from longclip.util.terminal import progress_display

    o = options
    outputs = [path for path in (o.results, o.csv, o.latex, o.report) if path is not None]
    for path in outputs:
        check_writable(path)
    sources = [model, *models]
    if o.probes and any(named(source)[1].startswith("npy:") for source in sources):
        raise UsageError("--probes changes texts, which arrays (npy:) do not hold; leave out one")
    requests = open_requests(
        o.data,
        suite=o.suite,
        root=o.root,
        columns=Columns(o.image_column, o.short_column, o.long_column, o.label_column),
        allow_partial=o.allow_partial,
        download=o.download,
    )
    device = pick_device(o.device)
    dtype = pick_dtype(o.dtype, auto=torch.float32)
    with progress_display() as progress:
        session = run_session(
            sources,
            requests,
            lambda source: open_encoder(source, device=device, dtype=dtype),
            options,
            gallery=o.report is not None,
            cache=None if o.no_cache else EmbeddingCache(o.cache),
            on_progress=progress,
        )
    if as_json:
        print(results.as_json(session.results), end="")
    else:
        print_results(session.results)
    if o.results is not None:
        results.write_results(o.results, session.results)
    if o.csv is not None:
        write_text(o.csv, as_csv(session.results))
    if o.latex is not None:
        write_text(o.latex, as_latex(session.results))
    if o.report is not None:
        command = shlex.join(["longclip", *sys.argv[1:]])
        write_report(o.report, model_report(session.results, session.gallery, command))
    for path in outputs:
        print(f"written: {path}", file=sys.stderr if as_json else sys.stdout)
    if o.probes and o.results is None and o.report is None and not as_json:
        print("probes are shown by --report and written by --results and --json")
