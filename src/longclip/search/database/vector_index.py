"""Vector index of large tables, and its measured recall."""

import time
import warnings

import numpy as np
from numpy.typing import NDArray

from longclip import scenes
from longclip.encoders.model_encoder import AnyModel, ModelEncoder, as_encoder, unit
from longclip.search.database.reader import Reader, matrix
from longclip.search.database.schema import RECALL_AT, IndexQuality
from longclip.search.database.store import Store
from longclip.text.tokenizer import TruncationWarning
from longclip.util.terminal import SILENT, OnProgress

EXACT_BELOW = 20_000
"""Images up to which each is compared with a query: 512 numbers each take 2 µs of a processor."""
MIN_RECALL = 0.99
"""Recall that is asked of images and texts alike before fewer partitions are searched."""
STAGE = "search index"

_BITS = 4
"""Of each number in an IVF_RQ: with 1, the same recall takes ten times as many candidates."""

_TEST_QUERIES = 64
_SETTINGS_TRIED = ((10, 5), (20, 5), (40, 5), (60, 5), (80, 10), (160, 10), (320, 20))
"""Partitions to look into and candidates to compare again, the cheapest first."""
_GROWTH_TO_MEASURE = 1.25
_GROWTH_TO_TRAIN = 4.0
"""Growth of the table after which the index is measured, and made, anew."""
_KEYS = ("uri", "id", "sha256", "source")


def ensure_index(
    store: Store,
    model: AnyModel,
    on_progress: OnProgress = SILENT,
    *,
    exact_below: int = EXACT_BELOW,
) -> IndexQuality | None:
    """Make the index of a large table, or measure it again when the table has grown.

    Inverted lists of vectors that are turned at random and kept in 4 bits a number (RaBitQ). They
    are searched in two thirds of the time of 8 bits, in half the memory, and find as much once
    candidates are compared again; a graph is little faster and takes ten times as long to make (see
    docs/benchmarks.md). An index of another kind, made by a former version, is used as it is.

    Args:
        store: all of whose rows are to be found.
        model: embeds the descriptions of `longclip.scenes` with which recall is measured.
        on_progress: called with how far it is.
        exact_below: rows up to which there is no index.

    Returns:
        What was measured, now or before; None where every search is exact.
    """
    rows = len(store)
    kept = store.quality()
    if rows < exact_below:
        return kept
    indexed = {column for index in store.table.list_indices() for column in index.columns}
    on_progress(STAGE, 0, 2)
    for column in _KEYS:
        if column not in indexed:
            _create(store, column)
    trained, kind = (kept.trained, kept.kind) if kept else (0, _kind(store))
    if "vector" not in indexed or rows > _GROWTH_TO_TRAIN * trained:
        _create(store, "vector")
        trained, kept, kind = rows, None, _kind(store)
    on_progress(STAGE, 1, 2)
    if kept is None or rows > _GROWTH_TO_MEASURE * kept.rows:
        kept = _measure(store, as_encoder(model), kind, trained)
        store.keep_quality(kept)
    on_progress(STAGE, 2, 2)
    return kept


def _kind(store: Reader) -> str:
    """Return the kind of index to make; LanceDB turns only widths that are multiples of 8."""
    return "IVF_SQ" if store.about.width % 8 else "IVF_RQ"


def _create(store: Store, column: str) -> None:
    from lancedb.index import BTree, IvfRq, IvfSq

    config: object = BTree()
    if column == "vector" and _kind(store) == "IVF_RQ":
        config = IvfRq(distance_type="cosine", num_bits=_BITS)
    elif column == "vector":
        config = IvfSq(distance_type="cosine")
    store.commit(lambda: store.table.create_index(column, config=config))


def _measure(store: Reader, encoder: ModelEncoder, kind: str, trained: int) -> IndexQuality:
    """Return the cheapest setting that finds enough; the last one where none does.

    Recall is measured and not assumed: it depends on how the images of this table lie. Texts are
    asked for apart from images, as they lie apart from all of them: far from every centroid, where
    more partitions have to be looked into for the same recall.
    """
    images, texts = store.sample(_TEST_QUERIES), _descriptions(encoder)
    queries = np.concatenate([images, texts])
    best = np.full((len(queries), RECALL_AT), -np.inf, np.float32)
    for batch in store.scan(["vector"], 8192):
        together = np.concatenate([best, queries @ matrix(batch.column(0)).T], axis=1)
        best = np.partition(together, -RECALL_AT, axis=1)[:, -RECALL_AT:]
    # The similarity of the tenth best, compared with all: equally similar images count as found.
    bounds = best.min(axis=1)
    for probes, refine in _SETTINGS_TRIED:
        began = time.perf_counter()
        found = [store.nearest(query, RECALL_AT, probes=probes, refine=refine) for query in queries]
        milliseconds = (time.perf_counter() - began) / len(queries) * 1e3
        recalls = [
            float((np.stack([hit.vector for hit in hits]) @ query >= bound - 1e-5).mean())
            for query, hits, bound in zip(queries, found, bounds, strict=True)
        ]
        quality = IndexQuality(
            kind=kind,
            trained=trained,
            rows=len(store),
            probes=probes,
            refine=refine,
            recall_images=float(np.mean(recalls[: len(images)])),
            recall_texts=float(np.mean(recalls[len(images) :])),
            milliseconds=milliseconds,
        )
        if min(quality.recall_images, quality.recall_texts) >= MIN_RECALL:
            break
    return quality


def _descriptions(encoder: ModelEncoder) -> NDArray[np.float32]:
    """Return float32 [N, D]: embeddings of long texts, for which no user has to give any."""
    texts = [scenes.describe(scenes.make_scene("test", i)) for i in range(_TEST_QUERIES)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        return unit(encoder.encode_text(texts))
