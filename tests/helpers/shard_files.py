"""Small tar shards, and a server that hands them out with faults."""

import io
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.helpers.table_files import png


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def samples(*colours: str, first: int = 0) -> dict[str, bytes]:
    """A picture and its text for each colour."""
    members = {}
    for number, colour in enumerate(colours, first):
        members[f"{number:04}.png"] = png(colour)
        members[f"{number:04}.txt"] = f"something {colour}".encode()
    return members


class Server:
    """Files of a folder over HTTP.

    Attributes:
        url: of the folder.
        asked: how often each name was asked for.
        faults: for a name, what happens to the next requests: a status, `cut` or `drop`.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}/"
        self.asked: Counter[str] = Counter()
        self.faults: dict[str, list[int | str]] = {}


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            server.asked[name] += 1
            fault = (server.faults.get(name) or [""]).pop(0)
            file = folder / name
            status = fault if isinstance(fault, int) else 200 if file.is_file() else 404
            if fault == "drop":
                return
            content = file.read_bytes() if status == 200 else b"no"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(folder, http.server_port)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
