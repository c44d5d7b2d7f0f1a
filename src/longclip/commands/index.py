"""`longclip index`."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from longclip.errors import UsageError

if TYPE_CHECKING:
    from longclip.search.indexing.index_report import IndexReport

_Flag = Annotated[bool, Parameter(negative="")]


def index_command(
    *sources: str,
    db: str,
    model: str | None = None,
    rebuild: _Flag = False,
    keep_deleted: _Flag = False,
    forget: str | None = None,
    status: _Flag = False,
    max_bad_fraction: float = 0.1,
    max_pixels: int = 100_000_000,
    thumbnail: int = 256,
    batch_size: int = 64,
    workers: int | None = None,
    device: str = "cpu",
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    encoders: int | None = None,
    json: _Flag = False,
) -> None:
    """Make images searchable: find, embed and keep them in a database.

    Run it again to bring the database up to date: only what is new or has changed is embedded,
    what has moved or is a copy is recognised, what is gone is forgotten. Stopped at any moment, it
    goes on where it was. Captions are taken from .txt and .json files beside images.

    Example: `longclip index photos --db photos.db --model BeichenZhang/LongCLIP-L`

    Example: `longclip index 'shards/part-{000..099}.tar' s3://bucket/scans --db photos.db`

    Example: `longclip index 's3://b/part-{000..999}.tar' --db s3://b/db --engine ray --device cuda`

    Example: `longclip index --db photos.db --status`

    Parameters
    ----------
    sources:
        Folders, image files, patterns in quotes, .tar, .parquet and .jsonl files, URLs of object
        storage, data sets as `longclip eval` takes them. Without any, all that were indexed before.
    db:
        A directory, made where it is not there, or a URL of object storage.
    model:
        As the other commands take it: a directory, a file, a name on the hub. Without, the one of
        the database; for a new one `nano`, which knows drawings and no photos.
    rebuild:
        Embed everything anew, all earlier sources too: for another model. If it is stopped, go on
        without this option.
    keep_deleted:
        Do not forget images that are gone.
    forget:
        Remove all that was indexed from this source.
    status:
        Show what the database holds; index nothing.
    max_bad_fraction:
        Share of images that may be unusable before the exit code is 1. The others are indexed in
        any case.
    max_pixels:
        Largest width times height of an image.
    thumbnail:
        Longest side of the small pictures that are kept, in pixels.
    batch_size:
        Images per forward pass.
    workers:
        Threads that read and decode; one per processor where not given.
    device:
        Where the model runs, such as cpu or cuda.
    engine:
        `local` uses this process. `ray` spreads reading and embedding over a cluster, or over the
        processors and GPUs of this machine. A shard (a .tar or .parquet file) that has been indexed
        whole is not looked into again.
    ray_address:
        Of a running Ray cluster: auto, or HOST:PORT. Without, one is started on this machine alone.
    encoders:
        With ray: processes that hold the model. Without: one per GPU, or per processor.
    json:
        Print everything as JSON.
    """
    if engine == "local" and (ray_address is not None or encoders is not None):
        raise UsageError("--ray-address and --encoders belong to --engine ray; add that")
    if status or forget is not None:
        if sources or (status and forget is not None):
            raise UsageError("--status and --forget stand alone, without sources; leave out one")
        _show_status(db, json) if status else _forget(str(forget), db)
        return
    import json as json_format
    from dataclasses import asdict

    import torch

    from longclip._hardware import fast_dtype
    from longclip._progress import progress_display
    from longclip.model import load
    from longclip.search.database.reader import Reader
    from longclip.search.indexing.cluster.config import Cluster
    from longclip.search.indexing.index import index
    from longclip.search.indexing.index_report import report_lines

    is_new = bool(sources) and not Reader.exists(db)
    name = model or (_small_model() if is_new else Reader.open(db).about.model)
    cluster = Cluster(ray_address, device, encoders) if engine == "ray" else None
    here = "cpu" if cluster else device
    # What is fast on this machine's processor says nothing of the workers' GPUs.
    dtype = torch.bfloat16 if here != device else fast_dtype(here)
    clip = load(name, dtype=dtype, device=here)
    with progress_display() as progress:
        report = index(
            sources,
            db,
            clip,
            model_name=_kept_name(name),
            rebuild=rebuild,
            workers=workers,
            batch_size=batch_size,
            thumbnail=thumbnail,
            max_pixels=max_pixels,
            keep_deleted=keep_deleted,
            cluster=cluster,
            on_progress=progress,
        )
    if json:
        print(json_format.dumps(asdict(report), ensure_ascii=False))
    else:
        print("\n".join(report_lines(report)))
    _check(report, max_bad_fraction)


def _small_model() -> str:
    """What is tried first by whoever has no model yet, told that photos need a larger one."""
    print(
        "note: without --model this is nano, which knows drawings such as scenes/test; for photos "
        "name a CLIP of yours or of the hub: --model openai/clip-vit-base-patch16",
        file=sys.stderr,
    )
    return "nano"


def _kept_name(model: str) -> str:
    """A directory is found again from any other one."""
    from pathlib import Path

    from longclip.model.pretrained import BUNDLED

    is_path = model not in BUNDLED and Path(model).exists()
    return str(Path(model).absolute()) if is_path else model


def _check(report: "IndexReport", max_bad_fraction: float) -> None:
    if report.bad_fraction > max_bad_fraction:
        raise UsageError(
            f"{len(report.bad):,} of {report.found:,} images could not be used, more than "
            f"--max-bad-fraction {max_bad_fraction}; all others are in the database"
        )


def _show_status(db: str, json: bool) -> None:
    import json as json_format
    from dataclasses import asdict

    from longclip.search.database.status import status
    from longclip.search.indexing.index_report import status_lines

    found = status(db)
    lines = [json_format.dumps(asdict(found), ensure_ascii=False)] if json else status_lines(found)
    print("\n".join(lines))


def _forget(source: str, db: str) -> None:
    from longclip.search.indexing.index import forget

    print(f"{forget(source, db):,} images of {source} removed", file=sys.stderr)
