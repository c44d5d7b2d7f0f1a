"""Embeddings of what was asked lately.

Who looks for a picture asks almost the same again and again: the next page of the same query, the
description with one sentence changed, another filter.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from longclip.search.service.embedder import Input

Vectors = NDArray[np.float32]

MOST = 4096
"""Embeddings that are kept: some megabytes."""


class Remembering:
    """Embeds only what it has not embedded lately. Used by the event loop alone.

    Args:
        embed: items to float32 [N, D], in their order.
        most: embeddings that are kept; those that were used last.
    """

    def __init__(
        self, embed: Callable[[Sequence[Input]], Awaitable[Vectors]], most: int = MOST
    ) -> None:
        self._embed = embed
        self._most = most
        self._kept: OrderedDict[Hashable, NDArray[np.float32]] = OrderedDict()

    async def __call__(self, items: Sequence[Input]) -> Vectors:
        """float32 [len(items), D]; at least one item."""
        keys = [_key(item) for item in items]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        if missing:
            rows = await self._embed(list(missing.values()))
            found |= dict(zip(missing, rows, strict=True))
        self._keep(found)
        return np.stack([found[key] for key in keys])

    def _keep(self, found: dict[Hashable, Vectors]) -> None:
        for key, row in found.items():
            # A copy, as a row alone would keep its whole batch in memory.
            self._kept.setdefault(key, row.copy())
            self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


def _key(item: Input) -> Hashable:
    """Ids as they are; of pixels, which are large, a hash."""
    return item if isinstance(item, tuple) else hashlib.sha256(item.tobytes()).digest()
