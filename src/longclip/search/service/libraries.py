"""What the service needs besides longclip itself."""

from longclip._libraries import require


def require_libraries() -> None:
    """Say what to install where something is missing; raises ValueError."""
    needed = ("lancedb", "fastapi", "uvicorn", "prometheus_client")
    require(needed, needed_by="the search service needs", extra="search")
