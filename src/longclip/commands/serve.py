"""`longclip serve`."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter

_Flag = Annotated[bool, Parameter(negative="")]


def serve_command(
    *,
    db: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    model: str | None = None,
    device: str = "cpu",
    bfloat16: _Flag = False,
    max_requests: int = 128,
    max_mb: float = 20,
    timeout: float = 60,
) -> None:
    """Search a database in the browser, and over HTTP.

    There is a page to search with, `POST /v1/search`, and `POST /v1/embeddings` as OpenAI's API
    has it, so its clients work: their base URL is this address with /v1. /health, /ready and
    /metrics are for what watches it. What is indexed meanwhile is found.

    Example: `longclip serve --db photos.db`

    Example: `LONGCLIP_TOKEN=… longclip serve --db photos.db --host 0.0.0.0 --port 80`

    Parameters
    ----------
    db:
        A database that `longclip index` made: a directory, or a URL of object storage.
    host:
        Address to listen at. Anything but this machine's own (127.0.0.1, localhost) needs a token.
    port:
        Number of the port; 0 takes a free one.
    token:
        What clients must present: as a bearer token (the API key of OpenAI clients), or once in
        the browser as /?token=…. Where not given, the environment's LONGCLIP_TOKEN, which others
        on this machine cannot see.
    model:
        Where the model is, if not where it was when the database was made.
    device:
        cpu, cuda, cuda:1 …
    bfloat16:
        Run the model in bfloat16: faster where the machine has it.
    max_requests:
        Searches and embedding requests under way at a time; more are told to try again later.
    max_mb:
        MiB that a request may have.
    timeout:
        Seconds that a request may take.
    """
    from longclip.search.service import require_libraries

    require_libraries()
    import torch

    from longclip.search.query.searcher import open_searcher
    from longclip.search.service import ServeConfig, serve

    config = ServeConfig(
        host=host,
        port=port,
        token=token or os.environ.get("LONGCLIP_TOKEN") or None,
        max_requests=max_requests,
        max_bytes=int(max_mb * 2**20),
        seconds=timeout,
    )
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    searcher = open_searcher(db, model, dtype=dtype, device=device)

    def say(address: str) -> None:
        # Into a log goes no token.
        shown = config.token if sys.stdout.isatty() else "TOKEN"
        link = f"{address}?token={shown}" if config.token else address
        count = f"{len(searcher.store):,} images of {db}"
        print(f"{count} at {link} (^C stops)", flush=True)

    serve(searcher, config, say)
