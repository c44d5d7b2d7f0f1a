"""Texts of many lengths in batches of about the same length."""

from collections.abc import Iterator, Sequence

SMALL_TOKEN_BUDGET = 2048
"""Tokens, of texts or of images, per micro-batch when encoding on a CPU.

More would leave the caches and make the C library fetch fresh memory for every layer, and the
larger a batch, the more padding."""

_MAX_PADDING_SHARE = 1 / 16
"""Share of a micro-batch that may be padding."""

_MIN_BATCH_TOKENS = 256
"""Tokens or padding below which another micro-batch would cost more than it saves."""


def micro_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Yield index sets that cover all texts once, from short to long, none over the token budget.

    A micro-batch also ends where one text more would make over a sixteenth of it padding, unless
    both it and its padding are still so small that the fixed cost of another one would weigh more:
    a text and its dozen sentences, fewer tokens than that together, would be padded to fourfold.

    Args:
        lengths: the tokens of each text.
        token_budget: the largest padded size (texts × longest) of a micro-batch; a single text
            longer than that still makes a micro-batch of its own.

    Yields:
        Indices into `lengths`.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    start = real = 0
    for end, text in enumerate(order):
        size = lengths[text]
        tokens = (end + 1 - start) * size
        padding = tokens - real - size
        wasteful = padding > _MAX_PADDING_SHARE * tokens and max(real, padding) >= _MIN_BATCH_TOKENS
        if end > start and (tokens > token_budget or wasteful):
            yield order[start:end]
            start, real = end, 0
        real += size
    yield order[start:]
