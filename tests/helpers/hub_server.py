"""A server that speaks as much of the hub's protocol as fetching a model or a data set takes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_server(models: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve `models`/owner/name/… on a free port; yields the address and the log of requests.

    Data sets are in `models`/datasets/owner/name.
    """
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0].strip("/")
            requests.append(f"{self.command} {path}")
            if path.startswith("api/models/"):
                return self._describe(path.removeprefix("api/models/"), with_body=with_body)
            if path.startswith("api/datasets/"):
                return self._describe(path.removeprefix("api/"), with_body=with_body)
            name, _, rest = path.partition("/resolve/")
            file = models / name / rest.partition("/")[2]
            if rest.partition("/")[0] not in (COMMIT, "main") or not file.is_file():
                return self._refuse("EntryNotFound")
            content = file.read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self._send(content, with_body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
            return None

        def _describe(self, path: str, *, with_body: bool) -> None:
            name, _, revision = path.partition("/tree/")
            if revision in ("main", COMMIT):
                return self._list(models / name, with_body=with_body)
            name, _, revision = path.partition("/revision/")
            if not (models / name).is_dir():
                return self._refuse("RepoNotFound")
            if revision not in ("", "main", COMMIT):
                return self._refuse("RevisionNotFound")
            root = models / name
            files = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
            known = name.removeprefix("datasets/")
            answer = {"id": known, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
            self._send(json.dumps(answer).encode(), with_body, {"Content-Type": "application/json"})
            return None

        def _list(self, root: Path, *, with_body: bool) -> None:
            """List the files of a repository, as its tree has them."""
            files = sorted(path for path in root.rglob("*") if path.is_file())
            listed = [
                {
                    "type": "file",
                    "path": str(path.relative_to(root)),
                    "size": path.stat().st_size,
                    "oid": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
                for path in files
            ]
            self._send(json.dumps(listed).encode(), with_body, {"Content-Type": "application/json"})

        def _send(self, content: bytes, with_body: bool, headers: dict[str, str]) -> None:
            self.send_response(200)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def _refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
