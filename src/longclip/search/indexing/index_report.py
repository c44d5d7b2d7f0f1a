"""The report of an indexing, and its lines for a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longclip.search.database.schema import IndexQuality
from longclip.search.database.status import Status
from longclip.search.sources.image_source import Unusable
from longclip.util.terminal import plain_text


@dataclass(frozen=True)
class IndexReport:
    """Counts of what an indexing did.

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
    bad: tuple[Unusable, ...]
    notes: tuple[str, ...]
    total: int
    embedded: int
    seconds: float
    images_per_second: float
    quality: IndexQuality | None

    @property
    def bad_fraction(self) -> float:
        """Return the share of what was found that could not be used."""
        return len(self.bad) / max(1, self.found)


_MAX_LISTED = 50


def report_lines(report: IndexReport) -> Iterator[str]:
    """Yield the counts, what could not be used, and how large searches are answered."""
    counts = {
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "unchanged": report.unchanged,
        "deleted": report.deleted,
    }
    counted = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    nothing = "none of them usable" if report.found and report.bad else "nothing to do"
    yield f"{_images(report.found)} found: {counted or nothing}"
    if report.duplicates == 1:
        yield "1 of them is a copy of another and shares its embedding"
    elif report.duplicates:
        yield f"{report.duplicates:,} of them are copies of others and share their embeddings"
    # The speed of files that turn out to be known is nothing to go by.
    if report.embedded:
        yield (
            f"{report.embedded:,} embedded, {report.images_per_second:.3g} images/s, "
            f"{report.seconds:.0f} s in all"
        )
    if report.quality:
        yield str(report.quality)
    yield from bad_lines(report.bad)
    yield from (f"note: {plain_text(note)}" for note in report.notes)
    yield f"{_images(report.total)} in the database"


def bad_lines(bad: Sequence[Unusable]) -> Iterator[str]:
    """Yield the first of them, a line each; a name cannot end its line or colour it."""
    if bad:
        yield f"{len(bad):,} could not be used:"
    for one in bad[:_MAX_LISTED]:
        yield f"  {plain_text(one.uri)}: {plain_text(one.reason.removeprefix(one.uri + ': '))}"
    if len(bad) > _MAX_LISTED:
        yield f"  … and {len(bad) - _MAX_LISTED:,} more (--json lists all)"


def status_lines(found: Status) -> Iterator[str]:
    """Yield what a database holds."""
    about = found.about
    yield f"{_images(found.images)}, {found.contents:,} of them different"
    yield f"model {about.model} ({about.width} numbers, {about.context_length} tokens)"
    if found.disk_bytes is not None:
        yield f"{found.disk_bytes / 1e6:,.1f} MB on disk"
    yield str(found.quality) if found.quality else "every image is compared with a query"
    for source, count in found.sources.items():
        yield f"  {count:>12,}  {plain_text(source)}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
