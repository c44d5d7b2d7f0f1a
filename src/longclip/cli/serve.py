"""`longclip serve`."""

import os
import sys
from dataclasses import dataclass
from typing import Annotated

from longclip.cli.options import (
    AS_OPTIONS,
    full_name,
    own_options_first,
    say_choice,
    stop_if_interrupted,
)
from longclip.options import EngineDtype, device_option, dtype_option, engine_option, option
from longclip.search.service.config import ServeConfig
from longclip.spec import Engine


@own_options_first
@dataclass(frozen=True, kw_only=True)
class ServeOptions(ServeConfig):
    """Database, model and where it runs, over `ServeConfig`."""

    db: str = option(
        "A database that `longclip index` made: a directory, or a URL of object storage."
    )
    model: str | None = option(
        "The model that the database was made with, if it is no longer where it was.", None
    )
    engine: Engine = engine_option()
    device: str = device_option()
    dtype: EngineDtype = dtype_option(
        "float32; bfloat16 is faster where the machine has it, and int8 ONNX files everywhere"
    )

    def __post_init__(self) -> None:
        if self.token is None:
            object.__setattr__(self, "token", os.environ.get("LONGCLIP_TOKEN") or None)
        super().__post_init__()


def serve_command(*, options: Annotated[ServeOptions, AS_OPTIONS]) -> None:
    """Search a database in the browser, and over HTTP.

    There is a page to search with, `POST /v1/search`, and `POST /v1/embeddings` as OpenAI's API
    has it, so its clients work: their base URL is this address with /v1. /health, /ready and
    /metrics are for monitoring. Images that are indexed meanwhile are found.

    Example: `longclip serve --db photos.db`

    Example: `LONGCLIP_TOKEN=… longclip serve --db photos.db --host 0.0.0.0 --port 80`
    """
    from longclip.util.libraries import require_libraries

    require_libraries("search")
    model = options.model and full_name(options.model)
    # Also into a log: half a minute may pass before a large model listens.
    print(f"opening {options.db} and its model …", file=sys.stderr, flush=True)
    from longclip.search.query.open import open_searcher
    from longclip.search.service import serve

    searcher = open_searcher(
        options.db,
        model,
        engine=options.engine,
        dtype=options.dtype,
        device=options.device,
        on_choice=say_choice,
    )

    stop_if_interrupted()

    def print_address(address: str) -> None:
        # No token into a log.
        shown = options.token if sys.stdout.isatty() else "TOKEN"
        link = f"{address}?token={shown}" if options.token else address
        count = f"{len(searcher.store):,} images of {options.db}"
        print(f"{count} at {link} (^C stops)", flush=True)

    serve(searcher, options, print_address)
