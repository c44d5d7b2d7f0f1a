"""SHA-256 of sequences of texts, and even choices of items."""

import hashlib


class Digest:
    """SHA-256 of a sequence of texts, so that no two different sequences look alike."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, *parts: str) -> None:
        """Go on with these texts; lone surrogates count too."""
        for part in parts:
            content = part.encode("utf-8", "surrogatepass")
            self._hash.update(len(content).to_bytes(8, "big") + content)

    def add_bytes(self, content: bytes) -> None:
        """Go on with bytes whose number is known, such as those of integers."""
        self._hash.update(content)

    def hexdigest(self) -> str:
        """Return the SHA-256 of all so far, 64 hexadecimal digits."""
        return self._hash.hexdigest()


def spread(count: int, most: int) -> list[int]:
    """Return up to `most` of the numbers below `count`, evenly spread, the first one among them."""
    taken = min(count, most)
    return [i * count // taken for i in range(taken)]
