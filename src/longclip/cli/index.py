"""`longclip index`."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from longclip.cli.options import (
    AS_OPTIONS,
    AsJson,
    full_name,
    own_options_first,
    say_choice,
    say_waiting,
    when_interrupted,
)
from longclip.errors import SearchError, UsageError
from longclip.options import EngineDtype, device_option, dtype_option, engine_option, option
from longclip.search.config import Cluster, IndexConfig
from longclip.spec import Engine

if TYPE_CHECKING:
    from longclip.encoders.model_encoder import ModelEncoder


@own_options_first
@dataclass(frozen=True, kw_only=True)
class IndexOptions(IndexConfig):
    """Database, model and where it runs, over `IndexConfig`."""

    db: str = option("A directory, made where it is not there, or a URL of object storage.")
    model: str | None = option(
        "As the other commands take it: a directory, a file, a name on the hub. Without, the one "
        "of the database; for a new one `nano`, which knows drawings and no photos.",
        None,
    )
    forget: str | None = option("Remove all that was indexed from this source.", None)
    status: bool = option("Show what the database holds; index nothing.", False)
    engine: Engine = engine_option()
    device: str = device_option(
        "With --ray that of the workers, and auto is what this machine has."
    )
    dtype: EngineDtype = dtype_option(
        "bfloat16 where the device is fast at it, else float32; of ONNX files float32 where there "
        "are such"
    )
    ray: bool = option(
        "Spread reading and embedding over a Ray cluster, or over the processors and GPUs of this "
        "machine. A shard (a .tar or .parquet file) that has been indexed whole is not looked into "
        "again.",
        False,
    )
    ray_address: str | None = option(
        "Of a running Ray cluster: auto, or HOST:PORT. Without, one is started on this machine "
        "alone.",
        None,
    )
    encoders: int | None = option(
        "With --ray: processes that hold the model. Without: one per GPU, or per processor.",
        None,
        least=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ray and (self.ray_address is not None or self.encoders is not None):
            raise UsageError("--ray-address and --encoders belong to --ray; add that")


def index_command(
    *sources: str, options: Annotated[IndexOptions, AS_OPTIONS], as_json: AsJson = False
) -> None:
    """Make images searchable: find, embed and keep them in a database.

    Run it again to bring the database up to date: only what is new or has changed is embedded,
    what has moved or is a copy is recognised, what is gone is forgotten. Stopped at any moment, it
    goes on where it was. Captions are taken from .txt and .json files beside images.

    Example: `longclip index photos --db photos.db --model BeichenZhang/LongCLIP-L`

    Example: `longclip index 'shards/part-{000..099}.tar' s3://bucket/scans --db photos.db`

    Example: `longclip index 's3://b/part-{000..999}.tar' --db s3://b/db --ray --device cuda`

    Example: `longclip index --db photos.db --status`

    Parameters
    ----------
    sources:
        Folders, image files, patterns in quotes, .tar, .parquet, .csv and .jsonl files, URLs of
        object storage, data sets as `longclip eval` takes them. Without any, all that were
        indexed before.
    """
    if options.status or options.forget is not None:
        if sources or (options.status and options.forget is not None):
            raise UsageError("--status and --forget stand alone, without sources; leave out one")
        _show_status_or_forget(options, as_json=as_json)
        return
    if options.model is not None:
        options = replace(options, model=full_name(options.model))
    say_waiting(f"opening {options.db} …")
    import json

    from longclip.search.indexing.index import index
    from longclip.search.indexing.outcomes import image_count, report_lines
    from longclip.util.terminal import progress_display

    encoder, model_name, cluster = _model_and_cluster(options, is_first_try=bool(sources))
    remark = "what is embedded is in the database, and the same command goes on from there"
    with when_interrupted(remark), progress_display() as progress:
        report = index(
            sources,
            options.db,
            encoder,
            options,
            model_name=model_name,
            cluster=cluster,
            on_progress=progress,
        )
    if as_json:
        print(json.dumps(asdict(report), ensure_ascii=False))
    else:
        print("\n".join(report_lines(report)))
        if report.total:
            print(f'next: longclip search "…" --db {options.db}')
    if report.unread and not report.found:
        raise UsageError(f"nothing could be read: {report.unread[0].reason}")
    if report.bad_fraction > options.max_bad_fraction:
        raise UsageError(
            f"{len(report.bad):,} of {image_count(report.found)} could not be used, more than "
            f"--max-bad-fraction {options.max_bad_fraction}; all others are in the database"
        )


def _show_status_or_forget(options: IndexOptions, *, as_json: bool) -> None:
    import json

    from longclip.search.database.reader import status
    from longclip.search.indexing.index import forget
    from longclip.search.indexing.outcomes import image_count, status_lines

    if options.forget is None:
        found = status(options.db)
        lines = [json.dumps(asdict(found), ensure_ascii=False)] if as_json else status_lines(found)
        print("\n".join(lines))
        return
    removed = forget(options.forget, options.db)
    if as_json:
        result = {"source": options.forget, "removed": removed}
        print(json.dumps(result, ensure_ascii=False))
    print(f"{image_count(removed)} of {options.forget} removed", file=sys.stderr)


def _model_and_cluster(
    options: IndexOptions, *, is_first_try: bool
) -> "tuple[ModelEncoder, str, Cluster | None]":
    """Return the model, the name that the database keeps of it, and where it runs if not here.

    Args:
        options: of the command.
        is_first_try: without --model take `nano` where there is no database yet.
    """
    from longclip.checkpoints.model_names import BUNDLED
    from longclip.encoders.engines import open_model
    from longclip.encoders.runtime_encoder import RuntimeEncoder
    from longclip.search.database.origin import read_origin
    from longclip.search.database.reader import Reader
    from longclip.search.query.open import open_former

    cluster, here, dtype = None, options.device, options.dtype
    if options.ray:
        from longclip.util.hardware import pick_device

        there = pick_device(options.device)
        there = "cpu" if options.device == "auto" and there == "mps" else there
        cluster = Cluster(options.ray_address, there, options.encoders)
        here = "cpu" if options.engine in ("auto", "torch") else options.device
        # What is fast on this machine's processor says nothing of the workers' GPUs.
        dtype = "bfloat16" if dtype == "auto" and there != "cpu" else dtype

    def opened(name: str) -> "ModelEncoder":
        return open_model(
            name,
            engine=options.engine,
            dtype=dtype,
            device=here,
            fast=True,
            on_choice=say_choice,
        )

    is_new = is_first_try and not Reader.exists(options.db) and read_origin(options.db) is None
    if options.model is None and not is_new:
        name = _model_before(options)
        encoder = open_former(name, options.db, opened)
    else:
        name = options.model or "nano"
        if options.model is None:
            print(
                "note: without --model this is nano, which knows drawings such as scenes/test; for "
                "photos name a CLIP of yours or of the hub: --model BeichenZhang/LongCLIP-L",
                file=sys.stderr,
            )
        encoder = opened(name)
    if cluster is not None and isinstance(encoder, RuntimeEncoder):
        cluster = replace(cluster, device="cpu")
    # As an absolute path a local model is found from any directory.
    is_path = name not in BUNDLED and Path(name).exists()
    return encoder, str(Path(name).absolute()) if is_path else name, cluster


def _model_before(options: IndexOptions) -> str:
    """Return the name of the model that a database was made with."""
    from longclip.search.database.origin import read_origin
    from longclip.search.database.reader import Reader

    try:
        return Reader.open(options.db).about.model
    except SearchError:
        origin = read_origin(options.db) if options.rebuild else None
        if origin is None:
            raise
        return origin.model
