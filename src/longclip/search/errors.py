"""What can go wrong with a database of images, and with single images."""

from dataclasses import dataclass


class SearchError(ValueError):
    """A database, model or query that cannot be used; says which, why, and what to do."""


class UnreadableError(SearchError):
    """A database whose files cannot be read; nothing that was asked for is to blame."""


class FilterError(SearchError):
    """A filter that is no SQL condition on the columns that there are."""


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
