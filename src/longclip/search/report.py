"""What an indexing did."""

from dataclasses import dataclass

from longclip.search.ann import IndexQuality
from longclip.search.errors import Bad


@dataclass(frozen=True)
class IndexReport:
    """What an indexing did.

    Every image that was found is in one of `added`, `changed`, `moved`, `unchanged` and `bad`.

    Attributes:
        found: images in the sources.
        added: that were not in the database.
        changed: with other content than before.
        moved: that were in the database at a place where they are not any more; not embedded again.
        unchanged: with the content they had.
        deleted: from the database, as they are gone from their source (those moved aside).
        duplicates: of `added` and `changed`, those whose content was there; not embedded again.
        bad: what could not be used, and why; also parts of sources that could not be listed.
        notes: what the user should know.
        total: images in the database now.
        embedded: images that went through the model.
        seconds: all of it.
        images_per_second: of those that were read, while they were read, embedded and written.
        quality: of the vector index, where there is one.
    """

    found: int
    added: int
    changed: int
    moved: int
    unchanged: int
    deleted: int
    duplicates: int
    bad: tuple[Bad, ...]
    notes: tuple[str, ...]
    total: int
    embedded: int
    seconds: float
    images_per_second: float
    quality: IndexQuality | None

    @property
    def bad_fraction(self) -> float:
        """Share of what was found that could not be used."""
        return len(self.bad) / max(1, self.found)
