"""Listening and stopping, as `longclip serve` does it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from longclip.model import CLIP
from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig
from longclip.search.service.server import address_of, listen, make_server
from tests.helpers.process_family import ProcessFamily
from tests.helpers.service import make_database


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port}: .*; choose another --port"):
            listen("127.0.0.1", port)


def test_a_host_that_is_not_ours() -> None:
    with pytest.raises(OSError, match=r"cannot listen at 192\.0\.2\.1, port 0: .* --host"):
        listen("192.0.2.1", 0)


def test_answers_are_sent_at_once() -> None:
    """Asyncio turns Nagle's algorithm off only where the socket names its protocol."""
    with listen("localhost", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_addresses_are_for_browsers() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener, "localhost") == f"http://localhost:{port}/"
        assert (
            address_of(listener, "::1") == address_of(listener, "[::1]") == f"http://[::1]:{port}/"
        )


def test_interrupted_it_finishes_and_a_second_time_it_ends_at_once(
    tmp_path: Path, nano: CLIP, capfd: pytest.CaptureFixture[str]
) -> None:
    server = make_server(Searcher(make_database(tmp_path, nano, count=1), nano), ServeConfig())
    before = signal.getsignal(signal.SIGINT)
    try:
        server.handle_exit(signal.SIGINT, None)
        assert server.should_exit
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert "^C again stops at once" in capfd.readouterr().err
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_killed_it_leaves_no_process_and_the_port_is_free(tmp_path: Path, nano: CLIP) -> None:
    store = make_database(tmp_path, nano, count=1)
    words = [sys.executable, "-m", "longclip", "serve", "--db", store.place, "--port"]
    with ProcessFamily([*words, "0"], tmp_path / "output") as family:
        family.wait_for(lambda: "^C stops" in family.output.read_text())
        family.first.kill()
        family.first.wait()
        family.wait_for(lambda: not family.processes())
        port = family.output.read_text().rpartition(":")[2].partition("/")[0]
    with ProcessFamily([*words, port], tmp_path / "again") as family:
        family.wait_for(lambda: f":{port}/" in family.output.read_text())
        family.first.send_signal(signal.SIGINT)
        assert family.first.wait() == 130
        assert family.output.read_text().endswith("longclip: stopped\n")


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, nano: CLIP) -> None:
    store = make_database(tmp_path, nano, count=3)
    program = "from longclip.cli import main; main()"
    words = ("serve", "--db", store.place, "--port", "0")
    token = "0123456789abcdef"
    with subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LONGCLIP_TOKEN": token},
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            assert line.startswith(f"3 images of {store.place} at http://127.0.0.1:")
            address, _, query = line.split(" at ")[1].split()[0].partition("?")
            assert query == "token=TOKEN", "a log is no place for the token"
            headers = {"authorization": f"Bearer {token}"}
            answer = httpx2.post(address + "v1/search", json={"text": "a boat"}, headers=headers)
            assert len(answer.json()["hits"]) == 3
            assert httpx2.get(address).status_code == 401
        finally:
            process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
        assert (out, errors) == ("", f"opening {store.place} and its model …\n")
        assert process.returncode == -signal.SIGTERM
