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
from longclip.search.service.server import address_of, listen
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
        assert (out, errors) == ("", "")
        assert process.returncode == -signal.SIGTERM
