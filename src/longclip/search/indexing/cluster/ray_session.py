"""Session of Ray: started or joined, and left as it was found."""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from longclip.errors import SearchError
from longclip.search.config import Cluster

_SETTINGS = {"enable_progress_bars": False, "raise_original_map_exception": True}
"""Of Ray Data: we show progress, and what goes wrong, ourselves."""
_ANSWERS_WITHIN_SECONDS = 10.0
_REMEDY = (
    "Start one with `ray start --head` and name its HOST:PORT, or leave the address out to use "
    "this machine alone"
)


def check_address(address: str | None) -> None:
    """Check that a cluster answers at the address: Ray would try for a quarter of an hour.

    Raises:
        SearchError: where nothing answers.
    """
    if address is None or address in ("auto", "local"):
        return
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise SearchError(f"{address} is no address of a Ray cluster: that is HOST:PORT, or auto")
    try:
        socket.create_connection((host, port), timeout=_ANSWERS_WITHIN_SECONDS).close()
    except OSError as error:
        raise SearchError(
            f"no Ray cluster answers at {address}: {error.strerror or error}. {_REMEDY}"
        ) from error


@contextmanager
def ray_session(cluster: Cluster) -> Iterator[Any]:
    """Start or join Ray, and stop what was started for it.

    Raises:
        SearchError: where nothing answers at the address.
    """
    # Ray reports its use to its makers by default, and a user of ours has not been asked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its C++ part writes warnings about its own actors to this process's standard error.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Each try lasts 40 s where something else than Ray answers, and Ray's own dashboard is that.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
    import ray
    import ray.data

    started = not ray.is_initialized()
    if started:
        _start(ray, cluster.address)
    context = ray.data.DataContext.get_current()
    before = {name: getattr(context, name) for name in _SETTINGS}
    # Ray's notes help nobody who indexes images, and errors are raised, too.
    log = logging.getLogger("ray.data")
    level = log.level
    try:
        for name, value in _SETTINGS.items():
            setattr(context, name, value)
        log.setLevel(logging.CRITICAL)
        yield ray
    finally:
        log.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)
        if started:
            ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"include_dashboard": False}
    try:
        # Starting a process, not a copy of this one, is what LanceDB's warning of forks is not for.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="lancedb fork", category=RuntimeWarning)
            ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).rstrip(". ")
        raise SearchError(
            f"no Ray cluster can be used at {address or 'this machine'}: {reason}. {_REMEDY}"
        ) from error
