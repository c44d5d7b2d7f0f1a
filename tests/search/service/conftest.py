from collections.abc import Iterator

import pytest

for _library in ("lancedb", "fastapi", "uvicorn", "prometheus_client", "httpx2"):
    pytest.importorskip(_library)

from longclip.model import CLIP, load  # noqa: E402
from longclip.search.database.store import Store  # noqa: E402
from longclip.search.query.searcher import Searcher  # noqa: E402
from tests.helpers.service import Served, make_database, serving  # noqa: E402


@pytest.fixture(scope="session")
def nano() -> CLIP:
    return load("nano")


@pytest.fixture(scope="session")
def store(nano: CLIP, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_database(tmp_path_factory.mktemp("served"), nano)


@pytest.fixture(scope="session")
def searcher(store: Store, nano: CLIP) -> Searcher:
    return Searcher(store, nano)


@pytest.fixture(scope="module")  # it has a thread, which tests elsewhere should not meet
def served(searcher: Searcher) -> Iterator[Served]:
    with serving(searcher) as served:
        yield served
