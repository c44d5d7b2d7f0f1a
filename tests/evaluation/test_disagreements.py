"""Which queries are shown, and whose answers."""

import torch

from longclip.data.captions import Captions
from longclip.evaluation import embed_images, embed_texts, long_texts, retrieval_ranks, text_pool
from longclip.evaluation.disagreements import Answering, disagreements
from tests.helpers.encoders import BagOfTokens, PaintedTexts, painted

# Pairs that share a long beginning: only the last sentence tells them apart.
BEGINNING = "There is a wide street with old brick houses. " * 9
ENDS = ("A red boat waits.", "Two dogs sleep.", "A tall lamp burns.", "Snow lies on a roof.")
TEXTS = tuple(BEGINNING + end for end in ENDS)


def answering(name: str, context_length: int, collection: PaintedTexts) -> Answering:
    encoder = BagOfTokens(context_length)
    images = embed_images(encoder, collection)
    pool = text_pool(collection, images.indices, long_texts)
    assert pool
    texts = embed_texts(encoder, pool.texts)
    ranks = retrieval_ranks(images.embeddings, texts, pool.image_of_text).text_to_image
    return Answering(name, encoder, images.embeddings, texts, ranks)


def collection() -> PaintedTexts:
    return PaintedTexts(TEXTS, tuple(Captions(long=(text,)) for text in TEXTS))


def picture(index: int) -> tuple[object, str]:
    return painted(TEXTS[index]), f"picture {index}"


def test_the_last_model_wins_what_the_first_cannot_read() -> None:
    data = collection()
    short, long = answering("short", 77, data), answering("long", 248, data)
    assert int((long.ranks == 1).sum()) == 4
    pool = text_pool(data, range(4), long_texts)
    assert pool
    found = disagreements([short, long], pool, picture)
    wrong = (short.ranks > 1).nonzero().flatten().tolist()
    assert (found.gained, found.lost) == (len(wrong), 0)
    assert len(found.queries) == len(wrong) > 0
    for query in found.queries:
        index = TEXTS.index(query.evidence.text)
        assert index in wrong
        first, last = query.answers
        assert (first.model, first.is_right) == ("short", False)
        assert (last.model, last.is_right, last.caption) == ("long", True, f"picture {index}")
        deciding = max(query.evidence.sentences, key=lambda mark: mark.score)
        assert query.evidence.text[deciding.start : deciding.end] == ENDS[index]
        assert query.characters_read
        assert deciding.start > query.characters_read


def test_losses_are_shown_too_and_groups_once() -> None:
    data = collection()
    short, long = answering("short", 77, data), answering("long", 248, data)
    pool = text_pool(data, range(4), long_texts)
    assert pool
    found = disagreements([long, short], pool, picture, of_lost=1)
    assert (found.gained, found.lost) == (0, int((short.ranks > 1).sum()))
    [query] = found.queries
    assert [answer.is_right for answer in query.answers] == [True, False]
    one = disagreements([short, long], pool, picture, group=lambda _: "all the same")
    assert len(one.queries) == 1
    three = disagreements([short, long, long], pool, picture, queries=2)
    assert len(three.queries) == 2
    assert len(three.queries[0].answers) == 3


def test_models_that_agree_have_nothing_to_show() -> None:
    data = collection()
    model = answering("long", 248, data)
    pool = text_pool(data, range(4), long_texts)
    assert pool
    found = disagreements([model, model], pool, picture)
    assert (found.queries, found.gained, found.lost) == ((), 0, 0)
    assert torch.equal(model.ranks, torch.ones(4, dtype=torch.int64))
