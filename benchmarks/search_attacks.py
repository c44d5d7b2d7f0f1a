"""`longclip serve` under clients that mean harm: what it takes at most, and whether it answers.

    python benchmarks/search_attacks.py

Prints a line per attack: how `/health` and a search fared meanwhile, what was answered, and the
most memory that the server has had. The server is the bundled model and a few drawings, with 200
file handles where idle connections are tried, as many as the system gives elsewhere.
"""

import argparse
import base64
import http.client
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

_PATIENCE = 120
_FEW_HANDLES = 200
_SERVE = "from longclip.cli import main; main()"
_HEAD = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_SEARCH = b'{"text": "a red boat by the sea"}'


@contextmanager
def serving(place: Path, handles: int | None) -> Iterator[tuple[int, int]]:
    """Start a server: its port, and its process id."""

    def limit() -> None:
        if handles:
            resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _SERVE, "serve", "--db", str(place), "--port", str(port)]
    with (place.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(command, preexec_fn=limit, stdout=log, stderr=log)
        try:
            while status(port, "GET", "/ready") != 200:
                assert process.poll() is None, "the server did not start"
                time.sleep(0.2)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE)


def status(port: int, method: str, path: str, body: bytes = b"") -> int:
    """Ask once; 0 where there was no answer."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        client.request(method, path, body, {"content-type": "application/json"})
        return client.getresponse().status
    except OSError:
        return 0
    finally:
        client.close()


def peak(process: int) -> int:
    """Return the most memory that a process has had, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def at_once(port: int, bodies: list[bytes], path: str = "/v1/search") -> Counter[int]:
    """Send all of them at the same time, and count the answers by their status."""
    with ThreadPoolExecutor(len(bodies)) as clients:
        return Counter(clients.map(lambda body: status(port, "POST", path, body), bodies))


def half_sent(port: int, count: int, sent: bytes, stack: ExitStack) -> None:
    """Open connections that send so much and then nothing more."""
    for _ in range(count):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), _PATIENCE))
        client.sendall(sent)


def picture(mode: str, side: int) -> bytes:
    """Return a search by a picture of a few kilobytes and many pixels."""
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return json.dumps({"image": url}).encode()


def report(attack: str, port: int, process: int, outcome: str = "") -> None:
    """Print how the server fares now."""
    began = time.perf_counter()
    health = status(port, "GET", "/health")
    seconds = time.perf_counter() - began
    found = status(port, "POST", "/v1/search", _SEARCH)
    print(
        f"{attack:44} /health {health} in {seconds:5.2f} s, search {found}, "
        f"at most {peak(process):5} MiB  {outcome}",
        flush=True,
    )


def answers(found: Counter[int]) -> str:
    """Return counts of answers by their status, as words."""
    return ", ".join(f"{count} x {code}" for code, count in sorted(found.items()))


def main(a: argparse.Namespace) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "photos").mkdir()
        for i in range(24):
            Image.new("RGB", (64, 64), (i * 10, 90, 60)).save(place / "photos" / f"{i}.png")
        index = ["index", str(place / "photos"), "--db", str(place / "db"), "--model", "nano"]
        quiet: Any = subprocess.DEVNULL
        subprocess.run([sys.executable, "-c", _SERVE, *index], check=True, stdout=quiet)
        for what, sent in (
            ("idle connections", b""),
            ("half-sent headers", _HEAD),
            ("half-sent bodies", _HEAD + b"Content-Length: 99\r\n\r\n{"),
        ):
            with serving(place / "db", _FEW_HANDLES) as (port, process), ExitStack() as stack:
                half_sent(port, 300, sent, stack)
                report(f"300 {what}, {_FEW_HANDLES} handles", port, process)
        with serving(place / "db", None) as (port, process):
            report("nothing", port, process)
            found = at_once(port, [_SEARCH] * a.clients)
            report(f"{a.clients} searches at once", port, process, answers(found))
            texts = json.dumps({"text": " ".join(f"a boat {i}." for i in range(1500))}).encode()
            found = at_once(port, [texts] * a.clients)
            report(f"{a.clients} of 1,500 sentences", port, process, answers(found))
            with ExitStack() as stack:
                sent = _HEAD + b"Content-Length: 20000000\r\n\r\n" + b" " * 2_000_000
                half_sent(port, a.clients // 2, sent, stack)
                report(f"{a.clients // 2} slow bodies of 20 MB", port, process)
            for mode in ("RGB", "RGBA", "I;16"):
                found = at_once(port, [picture(mode, 7000)] * 30)
                report(f"30 pictures of 49 megapixels, {mode}", port, process, answers(found))
            with ExitStack() as stack:
                half_sent(port, 50, _HEAD + b"Content-Length: 99\r\n\r\n{", stack)
                began = time.perf_counter()
                os.kill(process, signal.SIGTERM)
                while status(port, "GET", "/health") or Path(f"/proc/{process}/fd").is_dir():
                    if os.waitpid(process, os.WNOHANG) != (0, 0):
                        break
                    time.sleep(0.05)
                seconds = time.perf_counter() - began
                print(f"stopped with 50 half-sent bodies: gone in {seconds:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=512, help="at the same time")
    main(parser.parse_args())
