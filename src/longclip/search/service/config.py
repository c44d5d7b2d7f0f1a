"""Settings of the service."""

import ipaddress
from dataclasses import dataclass

from longclip.errors import UsageError

SHORTEST_TOKEN = 16
_LAST_PORT = 65_535


@dataclass(frozen=True)
class ServeConfig:
    """How the service listens, and what it lets in.

    Attributes:
        host: address to listen at. Anything but loopback needs a token.
        port: number of the port; 0 takes a free one.
        token: what clients must present, where one is asked for.
        max_requests: searches and embedding requests under way at the same time; more are refused
            with 429.
        max_bytes: size of a request; larger ones are refused with 413.
        seconds: how long a request may take until its answer begins; then 504.
        batch_tokens: tokens that go through the model at once, an image counting as many as it has
            patches; what the model's own micro-batches take where None.
        batch_wait: seconds that an idle model waits for further requests to share a batch.
        refresh: seconds between looks at what has been indexed meanwhile.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    max_requests: int = 128
    max_bytes: int = 20 * 2**20
    seconds: float = 60
    batch_tokens: int | None = None
    batch_wait: float = 0.002
    refresh: float = 2

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} lets others in: give them a token, --token or LONGCLIP_TOKEN "
                f"({SHORTEST_TOKEN} characters or more; `openssl rand -hex 16` makes one), or "
                "leave --host out to serve this machine alone"
            )
        if self.token is not None and not _is_fit(self.token):
            raise UsageError(
                f"the token has to have {SHORTEST_TOKEN} printable ASCII characters or more; "
                "`openssl rand -hex 16` makes one"
            )
        if not 0 <= self.port <= _LAST_PORT:
            raise UsageError(
                f"--port is {self.port}; it goes from 0, which takes a free one, to {_LAST_PORT}"
            )
        for name in ("max_requests", "max_bytes", "seconds", "refresh"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_fit(token: str) -> bool:
    return len(token) >= SHORTEST_TOKEN and token.isascii() and token.isprintable()
