"""`longclip eval`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from longclip.cli.compare import ResultFiles
from longclip.cli.options import (
    AS_OPTIONS,
    AsJson,
    full_name,
    own_options_first,
    say_choice,
    say_waiting,
    when_interrupted,
)
from longclip.errors import UsageError
from longclip.evaluation.config import EvaluateConfig
from longclip.options import (
    EngineDtype,
    device_option,
    dtype_option,
    engine_option,
    flag_of,
    images_option,
    option,
)
from longclip.spec import Engine

if TYPE_CHECKING:
    from longclip.evaluation.session import Session


@own_options_first
@dataclass(frozen=True, kw_only=True)
class EvalOptions(EvaluateConfig, ResultFiles):
    """Data, models' device and dtype, and files for the results, over `EvaluateConfig`."""

    data: tuple[str, ...] = option(
        "A benchmark (`longclip benchmarks` lists them) or BENCHMARK=PATH, `scenes` (or one of "
        "`scenes/test` and `scenes/test-short`), a .csv, .jsonl or .parquet file, or a folder of "
        "pictures. Repeat the option for several. `scenes` if neither this nor --suite is given.",
        (),
    )
    suite: str | None = option(
        "Several benchmarks at once: paper, long, short, zero-shot or choice.", None
    )

    root: Path = option("Where benchmarks lie, a folder each.", Path("data"))
    download: bool = option(
        "Fetch benchmarks that are not there from the hub, where it has them.", False
    )
    allow_partial: bool = option(
        "Take benchmarks that are not complete; results are marked.", False
    )
    images: tuple[Path, ...] = images_option()
    results: Path | None = option("Write the results there, for `longclip compare`.", None)
    image_column: str | None = option(
        "The column with pictures, where it has an unusual name; likewise the next three.", None
    )
    short_column: str | None = option("The column with short captions.", None)
    long_column: str | None = option("The column with long descriptions.", None)
    label_column: str | None = option("The column with class names or numbers.", None)
    engine: Engine = engine_option()
    device: str = device_option()
    dtype: EngineDtype = dtype_option(
        "float32 on every device, so that numbers agree between machines; with bfloat16 scores "
        "move in the third digit, and with int8 (ONNX files) in the second"
    )
    cache: Path | None = option(
        "Where embeddings are kept, so that a second run is quick; the user's cache directory.",
        None,
    )
    no_cache: bool = option("Embed everything anew and keep nothing.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.suite is not None and self.data:
            raise UsageError(
                f"--suite {self.suite} stands in place of --data; to measure on both, name the "
                f"suite as data, too: --data {self.suite} --data {self.data[0]}"
            )
        if self.suite is None and not self.data:
            object.__setattr__(self, "data", ("scenes",))


def eval_command(
    model: str,
    /,
    *models: str,
    options: Annotated[EvalOptions, AS_OPTIONS] = EvalOptions(),
    as_json: AsJson = False,
) -> None:
    """Measure models: retrieval and zero-shot classification.

    Retrieval is by long and by short texts, and --probes measures what recall hides. The data
    decides what is measured: long descriptions (or several short captions, joined), short captions,
    labels; a benchmark pins it. Recall is by cosine, ties count against the model, and pool sizes
    stand with every number.

    Example: `longclip eval nano --data scenes --data photos.parquet --results nano.json`

    Example: `longclip eval nano mine=runs/paper/model --data scenes/test --report out.html`

    Example: `longclip eval runs/paper/model --suite paper --root datasets --probes`

    Parameters
    ----------
    model:
        A model directory, a checkpoint file, a hub or short name, or `nano`; another library's as
        `transformers:NAME`, `open_clip:ARCHITECTURE/WEIGHTS` or `sentence-transformers:NAME`;
        ONNX files as `onnx:DIRECTORY` or `openvino:DIRECTORY`, after those runtimes; arrays as
        `npy:DIRECTORY`. NAME=MODEL gives it a name in results.
    models:
        More of them, to be compared with the first.
    """
    say_waiting(f"loading {', '.join((model, *models))} …")
    from longclip.evaluation import results
    from longclip.evaluation.session import named
    from longclip.evaluation.tables import print_results
    from longclip.model.pretrained import check_before_loading
    from longclip.util.files import check_writable
    from longclip.util.libraries import require_libraries

    o = options
    outputs = [path for path in (o.results, o.csv, o.latex, o.report) if path is not None]
    for path in outputs:
        check_writable(path)
    sources = []
    for source in (model, *models):
        _, place = named(source)
        if ":" not in place:  # what has a prefix is a model of another library
            source = source.removesuffix(place) + full_name(place)
        sources.append(source)
    if o.probes and any(named(source)[1].startswith("npy:") for source in sources):
        raise UsageError("--probes changes texts, which arrays (npy:) do not hold; leave out one")
    _refuse_unread(o)
    for _, place in map(named, sources):
        # Pictures may be embedded already, in the cache.
        check_before_loading(place, images=o.no_cache)
    # Models are opened one after the other; what is missing of a later one shows before the first.
    for engine in ("onnx", "openvino"):
        if o.engine == engine or any(named(x)[1].startswith(f"{engine}:") for x in sources):
            require_libraries(engine)
    session = _run_session(sources, options)
    if as_json:
        print(results.as_json(session.results), end="")
    else:
        print_results(session.results)
    if o.results is not None:
        results.write_results(o.results, session.results)
    o.write(session.results, session.gallery)
    for path in outputs:
        print(f"written: {path}", file=sys.stderr if as_json else sys.stdout)
    if o.probes and o.results is None and o.report is None and not as_json:
        print("probes are shown by --report and written by --results and --json")


def _refuse_unread(o: EvalOptions) -> None:
    """Refuse --images and names of columns that none of the data reads.

    Raises:
        UsageError: naming the option.
    """
    from longclip.data.names import refuse_unread
    from longclip.evaluation.benchmarks import BENCHMARKS, SUITES

    given = {
        name.removesuffix("_column"): flag_of(name)
        for name in ("images", "image_column", "short_column", "long_column", "label_column")
        if getattr(o, name)
    }
    own = [name for name in o.data if name.partition("=")[0] not in (*BENCHMARKS, *SUITES)]
    refuse_unread(given, [] if o.suite else own)


def _run_session(sources: Sequence[str], options: EvalOptions) -> "Session":
    """Open data and models as the options say, and measure all models on all data."""
    from longclip.data import Columns
    from longclip.encoders import open_encoder
    from longclip.evaluation.cache import EmbeddingCache
    from longclip.evaluation.session import open_requests, run_session
    from longclip.util.terminal import progress_display

    o = options
    requests = open_requests(
        o.data,
        suite=o.suite,
        root=o.root,
        columns=Columns(o.image_column, o.short_column, o.long_column, o.label_column),
        images=o.images,
        max_bad_fraction=o.max_bad_fraction,
        allow_partial=o.allow_partial,
        download=o.download,
    )
    for summary in (summary for request in requests for summary in request.summaries):
        print("\n".join(summary.lines()), file=sys.stderr, flush=True)
    remark = (
        "nothing is kept"
        if o.no_cache
        else ("what is embedded is kept, and the same command goes on from there")
    )
    with when_interrupted(remark), progress_display() as progress:
        return run_session(
            sources,
            requests,
            lambda source: open_encoder(
                source, device=o.device, dtype=o.dtype, engine=o.engine, on_choice=say_choice
            ),
            options,
            gallery=o.report is not None,
            cache=None if o.no_cache else EmbeddingCache(o.cache),
            on_progress=progress,
        )
