"""The images nearest to a vector, each once, however many copies of its file a database holds."""

import numpy as np
from numpy.typing import NDArray

from longclip.errors import UnreadableError
from longclip.search.database.reader import Hit, Reader
from longclip.search.database.schema import IndexQuality
from longclip.search.query.query import FoundImage

SPARE_ROWS = 16
"""Rows asked for beyond those wanted: collections have a few copies, seldom many."""

MAX_ROWS = 20_000
"""Rows looked at, in a database of very many copies of one file."""


def distinct_images(
    store: Reader,
    direction: NDArray[np.float32],
    count: int,
    *,
    where: str | None,
    total: int,
    index: IndexQuality | None = None,
    left_out: str | None = None,
) -> tuple[list[FoundImage], bool]:
    """Return at most `count` images, best first, equally similar ones by `uri`.

    Each is there once, however many copies of its file the database holds.

    Args:
        store: where to look.
        direction: float32 [D].
        count: images wanted.
        where: the condition of a query.
        total: rows that satisfy it.
        index: how the search index is to be used; without, every row is compared.
        left_out: the `sha256` of a file that is not wanted.

    Returns:
        The images, and whether every row was compared: it is, too, where the partitions that an
        index looks into hold fewer rows than are asked for.
    """
    asked = count + SPARE_ROWS
    while True:
        try:
            hits = store.nearest(
                direction,
                asked,
                where=where,
                exact=index is None,
                probes=index.probes if index else None,
                refine=index.refine if index else None,
            )
        except UnreadableError:
            if index is None:
                raise
            # It may be the index alone that is damaged.
            index = None
            continue
        if index and len(hits) < min(asked, total):
            # The partitions that were looked into hold fewer rows than there are: compare all.
            index = None
            continue
        # An order of its own: equally similar rows come in that of their files on disk.
        hits.sort(key=lambda hit: (-hit.similarity, hit.facts.uri))
        copies: dict[str, list[Hit]] = {}
        for hit in hits:
            if hit.facts.sha256 != left_out:
                copies.setdefault(hit.facts.sha256, []).append(hit)
        # Copies are equally similar: those of an image above the last row have all been seen.
        complete = sum(same[0].similarity > hits[-1].similarity for same in copies.values())
        if complete >= count or len(hits) < asked or asked >= MAX_ROWS:
            images = [
                FoundImage(best.facts, best.similarity, also, vector=best.vector)
                for best, *others in copies.values()
                for also in [tuple(other.facts.uri for other in others)]
            ]
            return images[:count], index is None
        asked = min(4 * asked, MAX_ROWS)
