"""What can go wrong with a database of images, and with single images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bad:
    """An image, or a place with images, that could not be used.

    Attributes:
        uri: see `longclip.search.Facts`.
        reason: why, for the user.
        lasting: it will be so again until the file itself is another one.
    """

    uri: str
    reason: str
    lasting: bool = False
