"""The nearest images, each picture once however many copies of its file there are."""

import numpy as np
from numpy.typing import NDArray

from longclip.search.ann import IndexQuality
from longclip.search.query import FoundImage, Query
from longclip.search.reader import Hit, Reader

_SPARE = 16
"""Rows asked for beyond those wanted: collections have a few copies, seldom many."""

_MOST = 20_000
"""Rows looked at, in a database of very many copies of one file."""


def distinct(
    store: Reader,
    direction: NDArray[np.float32],
    query: Query,
    *,
    total: int,
    index: IndexQuality | None = None,
    left_out: str | None = None,
) -> tuple[list[FoundImage], bool]:
    """At most `query.count` images, best first, equally similar ones by `uri`.

    Args:
        store: where to look.
        direction: float32 [D].
        query: its filter and count are used.
        total: rows that satisfy the filter.
        index: how the search index is to be used; without, every row is compared.
        left_out: the `sha256` of a file that is not wanted.

    Returns:
        The images, and whether every row was compared: it is, too, where the partitions that an
        index looks into hold fewer rows than are asked for.

    Raises:
        FilterError: as `Reader.nearest`.
    """
    asked = query.count + _SPARE
    while True:
        hits = _nearest(store, direction, asked, query.where, index)
        if index and len(hits) < min(asked, total):
            index = None
            continue
        groups = _groups(hits, left_out)
        # Copies are equally similar: those of an image above the last row have all been seen.
        complete = sum(group.similarity > hits[-1].similarity for group in groups)
        if complete >= query.count or len(hits) < asked or asked >= _MOST:
            return groups[: query.count], index is None
        asked = min(4 * asked, _MOST)


def _nearest(
    store: Reader,
    direction: NDArray[np.float32],
    count: int,
    where: str | None,
    index: IndexQuality | None,
) -> list[Hit]:
    if index is None:
        return store.nearest(direction, count, where=where, exact=True)
    return store.nearest(direction, count, where=where, probes=index.probes, refine=index.refine)


def _groups(hits: list[Hit], left_out: str | None) -> list[FoundImage]:
    ordered = sorted(hits, key=lambda hit: (-hit.similarity, hit.facts.uri))
    copies: dict[str, list[Hit]] = {}
    for hit in ordered:
        if hit.facts.sha256 != left_out:
            copies.setdefault(hit.facts.sha256, []).append(hit)
    return [
        FoundImage(
            best.facts,
            best.similarity,
            tuple(other.facts.uri for other in others),
            vector=best.vector,
        )
        for best, *others in copies.values()
    ]
