"""`longclip eval`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from longclip.errors import UsageError

_Flag = Annotated[bool, Parameter(negative="")]


def eval_command(
    model: str,
    /,
    *models: str,
    data: Annotated[tuple[str, ...], Parameter(negative="")] = ("scenes",),
    suite: str | None = None,
    root: Path = Path("data"),
    download: _Flag = False,
    allow_partial: _Flag = False,
    probes: _Flag = False,
    report: Path | None = None,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    csv: Path | None = None,
    latex: Path | None = None,
    image_column: str | None = None,
    short_column: str | None = None,
    long_column: str | None = None,
    label_column: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    max_bad_fraction: float = 0.01,
    device: str = "cpu",
    bfloat16: _Flag = False,
    cache: Path | None = None,
    no_cache: _Flag = False,
) -> None:
    """Measure models: long and short retrieval, zero-shot classification, and what they hide.

    What is measured depends on what the data has: long descriptions (or several short captions,
    joined), short captions, labels; a benchmark pins it. Recall is by cosine, ties count against
    the model, and pool sizes stand with every number.

    Example: `longclip eval nano --data scenes --data photos.parquet --json nano.json`

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
    data:
        A benchmark (`longclip benchmarks` lists them) or BENCHMARK=PATH, `scenes` (or one of
        `scenes/test` and `scenes/test-short`), a .parquet or .jsonl file, or a folder of
        pictures. Repeat the option for several.
    suite:
        Several benchmarks at once: paper, long, short or zero-shot.
    root:
        Where benchmarks lie, a folder each.
    download:
        Fetch benchmarks that are not there from the hub, where it has them.
    allow_partial:
        Take benchmarks that are not complete; results are marked.
    probes:
        Also measure what recall hides, on long texts: recall by length, without and with
        shuffled sentences, details that differ, separation; for --report and --json. Ten times
        the texts.
    report:
        Write a page of all results there.
    json:
        Write the results there, for `longclip compare`; `-` prints them in place of the tables.
    csv:
        Write every recall and accuracy there, a line each.
    latex:
        Write a table there.
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
    workers:
        Threads that decode pictures; one per processor where not given.
    max_bad_fraction:
        Share of unreadable pictures at which a collection is refused.
    device:
        cpu, cuda, cuda:1 …
    bfloat16:
        Run the model in bfloat16: faster, and scores move in the third digit.
    cache:
        Where embeddings are kept, so that a second run is quick; the user's cache directory.
    no_cache:
        Embed everything anew and keep nothing.
    """
    import shlex
    import sys

    import torch

    from longclip._files import check_writable, write_text
    from longclip._progress import progress_display
    from longclip.data import Columns
    from longclip.evaluation.cache import EmbeddingCache
    from longclip.evaluation.encoders import open_encoder
    from longclip.evaluation.export import as_csv, as_latex, print_results
    from longclip.evaluation.measure import EvaluateConfig
    from longclip.evaluation.model_report import model_report
    from longclip.evaluation.report import write_report
    from longclip.evaluation.results import as_json, write_results
    from longclip.evaluation.session import named, open_requests, run_session

    outputs = [path for path in (json, csv, latex, report) if path is not None and str(path) != "-"]
    for path in outputs:
        check_writable(path)
    sources = [model, *models]
    if probes and any(named(source)[1].startswith("npy:") for source in sources):
        raise UsageError("--probes changes texts, which arrays (npy:) do not hold; leave out one")
    requests = open_requests(
        data,
        suite=suite,
        root=root,
        columns=Columns(image_column, short_column, long_column, label_column),
        allow_partial=allow_partial,
        download=download,
    )
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    with progress_display() as progress:
        session = run_session(
            sources,
            requests,
            lambda source: open_encoder(source, device=device, dtype=dtype),
            EvaluateConfig(
                max_bad_fraction=max_bad_fraction,
                probes=probes,
                batch_size=batch_size,
                workers=workers,
            ),
            gallery=report is not None,
            cache=None if no_cache else EmbeddingCache(cache),
            on_progress=progress,
        )
    piped = str(json) == "-"
    if piped:
        print(as_json(session.results), end="")
    else:
        print_results(session.results)
        if json is not None:
            write_results(json, session.results)
    if csv is not None:
        write_text(csv, as_csv(session.results))
    if latex is not None:
        write_text(latex, as_latex(session.results))
    if report is not None:
        command = shlex.join(["longclip", *sys.argv[1:]])
        write_report(report, model_report(session.results, session.gallery, command))
    for path in outputs:
        print(f"written: {path}", file=sys.stderr if piped else sys.stdout)
    if probes and json is None and report is None:
        print("probes are shown by --report and written by --json")
