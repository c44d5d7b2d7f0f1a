"""Settings of the service."""

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from longclip.errors import UsageError
from longclip.options import NOT_AN_OPTION, check_options, option

_MIN_TOKEN_LENGTH = 16
_LAST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Settings of the service: where it listens, and what it lets in.

    Attributes:
        batch_tokens: tokens that go through the model at once, an image counting as many as it has
            patches; what the model's own micro-batches take where None.
        batch_wait: seconds that an idle model waits for further requests to share a batch.
        refresh: seconds between looks at what has been indexed meanwhile.
    """

    host: str = option(
        "Address to listen at. Anything but this machine's own (127.0.0.1, localhost) needs a "
        "token.",
        "127.0.0.1",
    )
    port: int = option("Number of the port; 0 takes a free one.", 8000)
    token: str | None = option(
        "What clients must present: as a bearer token (the API key of OpenAI clients), or once in "
        "the browser as /?token=…. Where not given, the command takes the environment's "
        "LONGCLIP_TOKEN, which others on this machine cannot see.",
        None,
    )
    max_requests: int = option(
        "Searches and embedding requests under way at a time; more are refused (429) and may try "
        "again later.",
        128,
        above=0,
    )
    max_mb: float = option(
        "MiB that a request may have; larger ones are refused (413).", 20, above=0
    )
    timeout: float = option(
        "Seconds that a request may take until its answer begins; then 504.", 60, above=0
    )
    batch_tokens: Annotated[int | None, NOT_AN_OPTION] = None
    batch_wait: Annotated[float, NOT_AN_OPTION] = 0.002
    refresh: Annotated[float, NOT_AN_OPTION] = option(
        "Seconds between looks at what has been indexed meanwhile.", 2, above=0
    )

    def __post_init__(self) -> None:
        # Other users of this machine reach a loopback address, too; other machines do not.
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} lets others in: give them a token, --token or LONGCLIP_TOKEN "
                f"({_MIN_TOKEN_LENGTH} characters or more; `openssl rand -hex 16` makes one), or "
                "leave --host out to serve this machine alone"
            )
        if self.token is not None and not (
            len(self.token) >= _MIN_TOKEN_LENGTH
            and self.token.isascii()
            and self.token.isprintable()
        ):
            raise UsageError(
                f"the token has to have {_MIN_TOKEN_LENGTH} printable ASCII characters or more; "
                "`openssl rand -hex 16` makes one"
            )
        if not 0 <= self.port <= _LAST_PORT:
            raise UsageError(
                f"--port is {self.port}; it goes from 0, which takes a free one, to {_LAST_PORT}"
            )
        check_options(self)

    @property
    def max_bytes(self) -> int:
        """Bytes that a request may have."""
        return int(self.max_mb * 2**20)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
