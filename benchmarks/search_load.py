"""`search.py --load`: `longclip serve` with ever more clients."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from figures import Figure, record
from search_jobs import ask, table, write_model

ROUTES = ("search", "embeddings")
HITS = 20
_PATIENCE = 120.0
_UNDER_WAY = 64
_TEXTS = 8192
"""More than are asked in all, as the service remembers embeddings; some sentences are alike."""
_GAUGE = "longclip_requests_under_way "
_SERVE = "from longclip.cli import main; main()"


def compare(a: argparse.Namespace) -> None:
    """Print a table for searches and one for embeddings, and how the server stops."""
    model = write_model(a.architecture, a.out)
    place = _database(model, a.out, a.rows)
    options = [f"--{option}" if i % 2 == 0 else option for i, option in enumerate(a.serve)]
    print(f"longclip serve {' '.join(options)}: {a.architecture}, {a.rows:,} images")
    for route in ROUTES:
        with _serving(place, options) as (address, _):
            ask("load", address=address, route=route, clients=1, seconds=min(a.seconds, 3))
            rows = []
            for clients in a.clients:
                job = {"route": route, "clients": clients, "seconds": a.seconds}
                result = ask("load", address=address, **job)
                rows.append(_row(clients, result))
                answers = result["answered"] / result["seconds"]
                record(Figure(f"/v1/{route}, {clients} clients", "answers/s", answers))
        print(f"\nPOST /v1/{route}")
        heads = ("answers/s", "p50, ms", "p95, ms", "p99, ms", "answered", "429")
        table(("clients", *heads, "anything else"), rows)
    with _serving(place, options) as (address, process):
        found = ask("stop", address=address, process=process.pid)
    print(
        f"stopped when {found['accepted']} of {_UNDER_WAY} searches had been accepted: "
        f"{found['answered']} answered, {found['refused']} × 429{_others(found['others'])}"
    )


def _row(clients: int, result: dict[str, Any]) -> tuple[str, ...]:
    times = [f"{value:.0f}" for value in result["milliseconds"]] or ["–"] * 3
    return (
        str(clients),
        f"{result['answered'] / result['seconds']:.1f}",
        *times,
        f"{result['answered']:,}",
        f"{result['refused']:,}",
        _others(result["others"]).removeprefix(", ") or "0",
    )


def _others(others: dict[str, int]) -> str:
    return "".join(f", {count} {what}" for what, count in others.items())


def _database(model: Path, out: Path, rows: int) -> Path:
    """Random vectors under a model's name."""
    place = out / f"{model.name}-{rows}.db"
    if place.exists():
        return place
    import longclip
    from longclip.search.database.schema import About
    from longclip.search.database.vector_index import ensure_index
    from search_engines import fill

    clip = longclip.load(model)
    random = np.random.default_rng(0)

    def parts() -> Iterator[Any]:
        for start in range(0, rows, 50_000):
            part = random.standard_normal((min(50_000, rows - start), clip.embedding_dim))
            yield (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32)

    unfinished = place.with_suffix(".part")
    ensure_index(fill(str(unfinished), About.of(clip, str(model.resolve())), parts()), clip)
    unfinished.rename(place)
    return place


@contextmanager
def _serving(place: Path, options: list[str]) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    words = ["serve", "--db", str(place), "--port", "0", *options]
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        if " at " not in line:
            raise SystemExit(f"longclip serve did not start: {line}")
        yield line.split(" at ")[1].split()[0], process
    finally:
        process.terminate()
        process.wait()


def measure(address: str, route: str, clients: int, seconds: float) -> dict[str, Any]:
    """Clients that ask again as soon as they are answered, in a process of their own."""
    return asyncio.run(_measure(address, route, clients, seconds))


async def _measure(address: str, route: str, clients: int, seconds: float) -> dict[str, Any]:
    async with _client(address, clients) as client:
        tally = _Tally()
        bodies = await _bodies(client, route)
        began = time.perf_counter()
        turns = (
            _ask_until(client, route, bodies[i::clients], tally, began + seconds)
            for i in range(clients)
        )
        await asyncio.gather(*turns)
        # All that was asked has been waited for; the last answers come after the time.
        took = time.perf_counter() - began
    marks = np.percentile(tally.milliseconds, [50, 95, 99]).tolist() if tally.milliseconds else []
    return {
        "seconds": took,
        "milliseconds": marks,
        "answered": len(tally.milliseconds),
        "refused": tally.refused,
        "others": dict(tally.others),
    }


class _Tally:
    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.refused = 0
        self.others: Counter[str] = Counter()


async def _ask_until(
    client: Any, route: str, bodies: list[dict[str, Any]], tally: _Tally, end: float
) -> None:
    number = 0
    while time.perf_counter() < end:
        body = bodies[number % len(bodies)]
        number += 1
        began = time.perf_counter()
        wait = await _ask(client, route, body, tally)
        if wait is None:
            tally.milliseconds.append(1e3 * (time.perf_counter() - began))
        else:
            await asyncio.sleep(min(wait, max(0.0, end - time.perf_counter())))


async def _ask(client: Any, route: str, body: dict[str, Any], tally: _Tally) -> float | None:
    """Return None when it was answered in full; else seconds to wait before the next try."""
    try:
        answer = await client.post(f"/v1/{route}", json=body)
    except Exception as error:  # whatever it is, it counts as a request that got no answer
        tally.others[type(error).__name__] += 1
        return 1.0
    if answer.status_code == 429:
        tally.refused += 1
        return float(answer.headers["retry-after"])
    found = answer.json() if answer.status_code == 200 else {}
    if len(found.get("hits", ())) == HITS or len(found.get("data", ())) == 1:
        return None
    tally.others[f"status {answer.status_code}"] += 1
    return 1.0


def measure_stopping(address: str, process: int) -> dict[str, Any]:
    """Stop the server while it works on searches that it has accepted."""
    return asyncio.run(_measure_stopping(address, process))


async def _measure_stopping(address: str, process: int) -> dict[str, Any]:
    async with _client(address, _UNDER_WAY + 1) as client:
        tally = _Tally()
        bodies = (await _bodies(client, "search"))[:_UNDER_WAY]
        asked = [asyncio.create_task(_ask(client, "search", body, tally)) for body in bodies]
        accepted = met = 0
        patience = time.perf_counter() + _PATIENCE
        # An answer on its way is neither under way nor done for a moment, hence the most seen.
        while met < _UNDER_WAY and time.perf_counter() < patience:
            metrics = (await client.get("/metrics")).text
            line = next(each for each in metrics.splitlines() if each.startswith(_GAUGE))
            under_way, done = int(float(line.split()[1])), [task for task in asked if task.done()]
            met = max(met, under_way + len(done))
            accepted = max(accepted, under_way + [task.result() for task in done].count(None))
            await asyncio.sleep(0.02)
        os.kill(process, signal.SIGTERM)
        answered = [await task for task in asked].count(None)
    return {
        "accepted": accepted,
        "answered": answered,
        "refused": tally.refused,
        "others": dict(tally.others),
    }


def _client(address: str, connections: int) -> Any:
    import httpx2

    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx2.AsyncClient(base_url=address, limits=limits, timeout=_PATIENCE)


async def _bodies(client: Any, route: str) -> list[dict[str, Any]]:
    """Long descriptions, each of another scene."""
    from longclip import scenes

    texts = [scenes.describe(scenes.make_scene("test", i)) for i in range(_TEXTS)]
    if route == "search":
        return [{"text": text, "k": HITS} for text in texts]
    model = (await client.get("/v1/about")).json()["model"]
    return [{"input": text, "model": model, "encoding_format": "base64"} for text in texts]
