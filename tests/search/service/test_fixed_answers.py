"""Answers of a fixed database, as they were written down: however they are computed, they stay.

To write them anew, after a change that is meant to change them:
`python -m tests.search.service.test_fixed_answers`.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longclip import scenes
from longclip.model import CLIP, load
from longclip.search.database.store import Store
from longclip.search.database.vector_index import ensure_index
from longclip.search.query.searcher import Searcher
from tests.helpers.databases import database, row
from tests.helpers.service import Served, serving

ANSWERS = Path(__file__).with_name("fixed_answers.json")
IMAGES = 900


def _description(number: int) -> str:
    return scenes.describe(scenes.make_scene("test", number))


QUERIES: Mapping[str, Mapping[str, Any]] = {
    "a long description": {"text": _description(0), "k": 20},
    "another one, which shares sentences": {"text": f"{_description(1)} {_description(0)[:90]}"},
    "longer than the context": {"text": " ".join(_description(i) for i in range(2, 7))},
    "one sentence": {"text": "A boat lies on the shore.", "k": 7},
    "without sentence scores": {"text": _description(3), "why": False, "k": 9},
    "second page": {"text": _description(4), "k": 10, "offset": 15},
    "negative texts": {"text": _description(5), "not": ["a lighthouse", "It is night. It rains."]},
    "only a negative text": {"not": ["a red car"]},
    "a filter": {"text": _description(6), "where": "width > 1500 AND camera IS NOT NULL"},
    "a folder and dates": {"text": _description(7), "folder": "/p/3", "after": "2020-02"},
    "nothing passes": {"text": "A dog. A cat.", "where": "width > 99999"},
    "like another image": {"text": _description(8), "like": "{id}", "text_share": 0.3},
    "copies": {"text": "{copied}", "k": 5},
}


def _database(place: Path, model: CLIP) -> Store:
    """Clusters around descriptions, where texts find something; some files are there twice."""
    random = np.random.default_rng(11)
    centres = model.encode_text([_description(i) for i in range(30)], normalize=True).numpy()
    rows = []
    for i in range(IMAGES):
        # Of the thirty in a cluster each is farther from its text than the one before.
        noise = random.standard_normal(centres.shape[1]) / centres.shape[1] ** 0.5
        vector = centres[i % 30] + (0.6 + 0.04 * (i // 30)) * noise
        facts = {
            "width": 1000 + i,
            "camera": None if i % 3 else "Nikon D90",
            "taken": datetime(2020, 1, 1) + timedelta(hours=3 * i),
            "caption": f"caption {i}",
        }
        rows.append(row(f"/p/{i % 5}/{i:03}.jpg", vector, **facts))
        if i in (12, 40):
            rows.append(row(f"/copies/{i:03}.jpg", vector, f"/p/{i % 5}/{i:03}.jpg", **facts))
    return database(place, rows, model, "nano")


def _requests(store: Store) -> dict[str, dict[str, Any]]:
    [liked] = store.rows("uri", ["/p/3/123.jpg"])
    places = {"{id}": liked.facts.id, "{copied}": _description(12)}
    return {
        name: {
            key: places.get(value, value) if isinstance(value, str) else value
            for key, value in query.items()
        }
        for name, query in QUERIES.items()
    }


def _answers(served: Served, requests: Mapping[str, Any], clients: int) -> dict[str, Any]:
    def ask(request: Mapping[str, Any]) -> Any:
        with served.client() as client:
            answer = client.post("/v1/search", json=request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    with ThreadPoolExecutor(clients) as pool:
        answers = dict(zip(requests, pool.map(ask, requests.values()), strict=True))
    for answer in answers.values():
        assert answer.pop("took_ms") >= 0
    return answers


@pytest.fixture(scope="module")
def store(nano: CLIP, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _database(tmp_path_factory.mktemp("fixed"), nano)


@pytest.fixture(scope="module", params=["compared with all", "by index"])
def served(store: Store, nano: CLIP, request: pytest.FixtureRequest) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "by index":
            ensure_index(store, nano, exact_below=IMAGES)
            patch.setattr("longclip.search.query.searcher.EXACT_BELOW", IMAGES)
        with serving(Searcher(store, nano)) as served:
            yield served


@pytest.mark.filterwarnings("ignore::longclip.text.tokenizer.TruncationWarning")
@pytest.mark.parametrize("clients", [1, 8])
def test_answers_are_those_written_down(served: Served, store: Store, clients: int) -> None:
    written = json.loads(ANSWERS.read_text(encoding="utf-8"))
    requests = _requests(store)
    assert written.keys() == requests.keys()
    # Twice: the second time, much of it has been asked before.
    for _ in range(2):
        for name, answer in _answers(served, requests, clients).items():
            assert_same(answer, written[name], name)


def assert_same(answer: Mapping[str, Any], written: Mapping[str, Any], name: str) -> None:
    """Compare all of an answer; only whether every image was compared may differ.

    Images whose cosines differ by what 16 bits round away may change places.
    """
    ours, theirs = dict(answer), dict(written)
    hits, expected = ours.pop("hits"), theirs.pop("hits")
    del ours["exact"], theirs["exact"]
    assert ours == theirs, name
    hit_of = {hit["uri"]: hit for hit in expected}
    assert {hit["uri"] for hit in hits} == hit_of.keys(), name
    for hit, at_its_place in zip(hits, expected, strict=True):
        other = hit_of[hit["uri"]]
        assert other["similarity"] == pytest.approx(at_its_place["similarity"], abs=1e-4), name
        assert _numbers(hit) == pytest.approx(_numbers(other), abs=2e-3), name
        assert hit == {**other, "similarity": hit["similarity"], "sentences": hit["sentences"]}


def _numbers(hit: Mapping[str, Any]) -> Sequence[float]:
    return [hit["similarity"], *hit["sentences"]]


def main() -> None:
    """Write the answers down."""
    model = load("nano")
    with tempfile.TemporaryDirectory() as place:
        store = _database(Path(place), model)
        with serving(Searcher(store, model)) as served:
            answers = _answers(served, _requests(store), 1)
    for answer in answers.values():
        for hit in answer["hits"]:
            hit["similarity"] = round(hit["similarity"], 6)
            hit["sentences"] = [round(z, 4) for z in hit["sentences"]]
    ANSWERS.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
