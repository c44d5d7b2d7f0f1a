"""What was asked lately is not embedded again."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from longclip.encoders.clip_encoder import CLIPEncoder
from longclip.model import CLIP
from longclip.search.query.searcher import Searcher
from longclip.search.service.embedder import MAX_CACHED_BYTES, Embedder, Input, RecentEmbeddings
from tests.helpers.service import data_url, picture, serving

Vectors = NDArray[np.float32]


class Model:
    """Embeds texts of one token as that token."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    async def __call__(self, items: Sequence[Input]) -> Vectors:
        numbers = [int(item[0]) for item in items]
        self.asked.append(numbers)
        return np.array([[number] for number in numbers], np.float32)


def ask(recent: RecentEmbeddings, numbers: Sequence[int]) -> list[int]:
    rows = asyncio.run(recent([(number,) for number in numbers]))
    return [int(row[0]) for row in rows]


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), max_size=12), st.integers(1, 12)
)
def test_everybody_gets_what_they_asked_for(requests: list[list[int]], most: int) -> None:
    recent = RecentEmbeddings(Model(), most)
    for numbers in requests:
        assert ask(recent, numbers) == numbers


def test_only_what_is_new_is_embedded_and_each_once() -> None:
    model = Model()
    recent = RecentEmbeddings(model, most=9)
    assert ask(recent, [1, 2, 1, 3]) == [1, 2, 1, 3]
    assert ask(recent, [3, 4, 1, 4]) == [3, 4, 1, 4]
    assert ask(recent, [4, 3]) == [4, 3]
    assert model.asked == [[1, 2, 3], [4]]


def test_what_was_used_longest_ago_is_forgotten() -> None:
    model = Model()
    recent = RecentEmbeddings(model, most=3)
    for numbers in ([1, 2, 3], [1], [4], [1, 3], [2]):
        ask(recent, numbers)
    assert model.asked == [[1, 2, 3], [4], [2]]


def test_an_error_is_not_remembered() -> None:
    works = False

    async def embed(items: Sequence[Input]) -> Vectors:
        if not works:
            raise ValueError("not now")
        return np.ones((len(items), 1), np.float32)

    recent = RecentEmbeddings(embed, most=9)
    with pytest.raises(ValueError, match="not now"):
        ask(recent, [5])
    works = True
    assert ask(recent, [5]) == [1]


def test_pictures_are_known_by_their_pixels() -> None:
    seen: list[int] = []

    async def embed(items: Sequence[Input]) -> Vectors:
        seen.append(len(items))
        return np.array([[np.sum(item)] for item in items], np.float32)

    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    recent = RecentEmbeddings(embed, most=9)
    for pictures in ([black, white], [white.copy()], [black.copy(), white]):
        rows = asyncio.run(recent(pictures))
        assert rows[:, 0].tolist() == [picture.sum() for picture in pictures]
    assert seen == [2]


def test_a_second_page_needs_no_model_and_a_new_sentence_only_itself(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    embed = Embedder.__call__

    def counted(embedder: Embedder, items: Sequence[Input]) -> Vectors:
        seen.append(len(items))
        return embed(embedder, items)

    monkeypatch.setattr(Embedder, "__call__", counted)
    query = {"text": "A red square. It is small.", "not": ["rain"], "image": data_url(picture(2))}
    edited = query | {"text": "A red square. It is small. It rains."}
    with serving(searcher) as served:
        client = served.client()
        first = client.post("/v1/search", json=query | {"k": 20}).json()
        second = client.post("/v1/search", json=query | {"k": 10, "offset": 10}).json()
        assert [hit["id"] for hit in second["hits"]] == [hit["id"] for hit in first["hits"]][10:]
        assert sum(seen) == 5, "the text, two sentences, what is not wanted, and the picture"
        assert client.post("/v1/search", json=edited).status_code == 200
        assert sum(seen) == 7, "the new text and its new sentence"


def test_texts_that_wait_together_are_embedded_once(
    nano: CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = CLIPEncoder(nano)
    embedder = Embedder(encoder)
    texts = [embedder.tokens(text) for text in ("a dog", "a cat", "a dog", "a bird", "a cat")]
    image = embedder.pixels(picture(1))
    alone = [embedder([text])[0] for text in texts]
    asked: list[int] = []
    embed = CLIPEncoder.embed_ids

    def counted(encoder: CLIPEncoder, ids: Sequence[Sequence[int]]) -> Vectors:
        asked.append(len(ids))
        return embed(encoder, ids)

    monkeypatch.setattr(CLIPEncoder, "embed_ids", counted)
    rows = embedder([*texts[:3], image, *texts[3:]])
    assert asked == [3]
    assert np.allclose(rows[[0, 1, 2, 4, 5]], alone, atol=1e-6)
    assert np.allclose(rows[3], embedder([image])[0], atol=1e-6)


def test_what_is_kept_is_bounded_in_bytes() -> None:
    assert RecentEmbeddings.most(512) * 512 * 4 < MAX_CACHED_BYTES
    assert RecentEmbeddings.most(128) > 2 * RecentEmbeddings.most(512) > 20_000
