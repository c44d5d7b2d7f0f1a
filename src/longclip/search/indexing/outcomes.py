"""Outcomes of an indexing: what became of each image, the rows that are written, the report."""

import glob
import os
import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from longclip.data.storage import is_url
from longclip.search.database.lance import quoted
from longclip.search.database.reader import IndexedImage, Status
from longclip.search.database.schema import ImageRow, IndexQuality
from longclip.search.database.store import Store
from longclip.search.indexing.image_loader import KnownImage
from longclip.search.indexing.index_plan import ImageTask, IndexPlan
from longclip.search.sources.image_source import Unusable, container_of, folder_and_name
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
        bad: those of the images found that could not be used, and why.
        unread: sources, folders, archives and tables that could not be looked into; what is known
            of their images is kept.
        links: links that lead nowhere, pipes, devices and the like, which are no images.
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
    unread: tuple[Unusable, ...]
    links: tuple[Unusable, ...]
    notes: tuple[str, ...]
    total: int
    embedded: int
    seconds: float
    images_per_second: float
    quality: IndexQuality | None

    @property
    def bad_fraction(self) -> float:
        """Return the share of the images found that could not be used."""
        return len(self.bad) / max(1, self.found)


_MAX_LISTED = 50
"""Of what could not be used, those that are listed on a terminal."""


def report_lines(report: IndexReport) -> Iterator[str]:
    """Yield the counts, what could not be used, and how large searches are answered.

    A line each: no name of a file can end its line or colour it.
    """
    counts = {
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "unchanged": report.unchanged,
        "not usable": len(report.bad),
        "deleted": report.deleted,
    }
    counted = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    yield f"{image_count(report.found)} found: {counted}" if counted else "no images found"
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
    for one, several, unusable in (
        ("1 image could not be used", "images could not be used", report.bad),
        ("1 place could not be read", "places could not be read", report.unread),
        ("1 link or device is no file", "links or devices are no files", report.links),
    ):
        if unusable:
            yield f"{one if len(unusable) == 1 else f'{len(unusable):,} {several}'}:"
        for each in unusable[:_MAX_LISTED]:
            # A message that begins with the name would give it twice.
            reason = each.reason.removeprefix(f"{each.uri}: ")
            yield f"  {plain_text(each.uri)}: {plain_text(reason)}"
        if len(unusable) > _MAX_LISTED:
            yield f"  … and {len(unusable) - _MAX_LISTED:,} more (--json lists all)"
    yield from (f"note: {plain_text(note)}" for note in report.notes)
    yield f"{image_count(report.total)} in the database"


def status_lines(found: Status) -> Iterator[str]:
    """Yield lines on the content of a database."""
    about = found.about
    different = f", {found.contents:,} of them different" if found.images != 1 else ""
    yield f"{image_count(found.images)}{different}"
    yield f"model {about.model} ({about.width} numbers, {about.context_length} tokens)"
    if found.disk_bytes is not None:
        yield f"{found.disk_bytes / 1e6:,.1f} MB on disk"
    yield str(found.quality) if found.quality else "every image is compared with a query"
    for source, count in found.sources.items():
        yield f"  {count:>12,}  {plain_text(source)}"


def image_count(count: int) -> str:
    """Return `1 image` or `2 images`."""
    return "1 image" if count == 1 else f"{count:,} images"


STAGE = "images"
_ROWS_PER_WRITE = 512
_SECONDS_PER_WRITE = 10.0
"""What is embedded is committed after so many rows or seconds, whichever is first. Each commit is
files of its own, which searches have to open and `Store.compact` has to join: a commit for each
batch would make thousands. And what was not committed is lost when the process is killed: ten
seconds of work are soon done again."""


class Outcomes:
    """Counts of what has become of each image, and its row, which is written in pieces.

    Args:
        store: where rows go.
        keep_gone: leave what is not there any more in the database.
        rows_at_once: that are written in one piece.

    Attributes:
        counts: images by `added`, `changed`, `moved`, `unchanged`, `duplicates`, `embedded`.
        found: images in the sources.
        gone: what is in the database and not in its source any more, by `uri`.
        unusable: images that could not be used.
        unread: places that could not be looked into.
        links: what is no file.
        notes: what the user should know.
    """

    def __init__(
        self, store: Store, keep_gone: bool = False, rows_at_once: int | None = None
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.found = 0
        self.gone: dict[str, IndexedImage] = {}
        self.unusable: list[Unusable] = []
        self.unread: list[Unusable] = []
        self.links: list[Unusable] = []
        self.notes: list[str] = []
        self._store = store
        self._keep_gone = keep_gone
        self._rows_at_once = rows_at_once or _ROWS_PER_WRITE
        self._untouched = 0
        self._gone_with: dict[str, int] = defaultdict(int)
        self._copied: Counter[tuple[str, str]] = Counter()
        self._rows: list[tuple[ImageTask, ImageRow]] = []
        self._same: list[KnownImage] = []
        self._left = 0
        self._written = time.monotonic()

    def begin(self, plan: IndexPlan) -> None:
        """Take in what is known before any image is read."""
        self.found += plan.found
        self.counts["unchanged"] += plan.unchanged
        self._untouched += plan.unchanged
        self.unusable += plan.unusable
        self.unread += plan.unread
        self.links += plan.links
        self.notes += plan.notes
        self.take_gone(plan.gone)

    def skip(self, images: int, unusable: Sequence[Unusable]) -> None:
        """Take in what is known of a shard that is still the same."""
        self.found += images + len(unusable)
        self.counts["unchanged"] += images
        self._untouched += images + len(unusable)
        self.unusable += unusable

    def take_gone(self, gone: Mapping[str, IndexedImage]) -> None:
        """Take in what is not there any more, unless it is found at another place."""
        for uri, known in () if self._keep_gone else gone.items():
            if uri not in self.gone:
                self.gone[uri] = known
                self._gone_with[known.sha256] += 1

    def add(self, task: ImageTask, row: ImageRow) -> None:
        """Take in an image that has been embedded."""
        self.counts["embedded"] += 1
        self._rows.append((task, row))

    def take(self, image: KnownImage | Unusable) -> None:
        """Take in an image that is not embedded: its content is known, or it cannot be used."""
        if isinstance(image, Unusable):
            self.unusable.append(image)
        else:
            self._same.append(image)

    def is_due(self) -> bool:
        """Return whether as much is waiting as may be lost."""
        # Copies that the last write has left have no original yet: no reason to write again.
        full = len(self._rows) + len(self._same) - self._left >= self._rows_at_once
        return full or time.monotonic() - self._written > _SECONDS_PER_WRITE

    def write(self) -> None:
        """Bring all that waits into the database, but copies of what is not there yet."""
        self._put(self._rows)
        for task, _ in self._rows:
            self.counts["changed" if task.before else "added"] += 1
        self._rows = []
        originals = self._store.originals(list({same.sha256 for same in self._same}))
        copies = [
            (same, _copy(same, originals[same.sha256]))
            for same in self._same
            if same.sha256 in originals
        ]
        self._put([(same.task, row) for same, row in copies])
        for same, _ in copies:
            before = same.task.before
            if before and before.sha256 == same.sha256:
                self.counts["unchanged"] += 1
            elif before is None and self._gone_with[same.sha256]:
                # Each image that is gone explains one new copy of its content: that has moved.
                self._gone_with[same.sha256] -= 1
                self.counts["moved"] += 1
            else:
                self.counts["changed" if before else "added"] += 1
                self.counts["duplicates"] += 1
                self._copied[originals[same.sha256].facts.source, same.task.source.name] += 1
        self._same = [same for same in self._same if same.sha256 not in originals]
        self._left = len(self._same)
        self._written = time.monotonic()

    def waits(self) -> bool:
        """Return whether anything that was taken in is not in the database."""
        return bool(self._rows or self._same)

    def without_original(self) -> list[KnownImage]:
        """Hand out, once, the copies of images whose rows have been overwritten since."""
        left, self._same, self._left = self._same, [], 0
        return left

    def delete_gone(self) -> None:
        """Forget what is not there any more."""
        self._store.delete(list(self.gone))

    def report(
        self, *, total: int, seconds: float, reading: float, quality: IndexQuality | None
    ) -> IndexReport:
        """Return all counts; `reading` is the time in which images were read and embedded."""
        counts = self.counts
        handled = self.found - self._untouched
        return IndexReport(
            found=self.found,
            added=counts["added"],
            changed=counts["changed"],
            moved=counts["moved"],
            unchanged=counts["unchanged"],
            deleted=len(self.gone) - counts["moved"],
            duplicates=counts["duplicates"],
            bad=_by_name(self.unusable),
            unread=_by_name(self.unread),
            links=_by_name(self.links),
            notes=(*self.notes, *self._moved_sources()),
            total=total,
            embedded=counts["embedded"],
            seconds=seconds,
            images_per_second=handled / max(reading, 1e-9),
            quality=quality,
        )

    def _moved_sources(self) -> Iterator[str]:
        """Yield what to do about sources that are not there, and whose images now are elsewhere.

        They may be on a disk that is not connected, so nothing is forgotten without being asked.
        """
        for (old, new), copies in self._copied.items():
            if old == new or is_url(old) or os.path.exists(container_of(old) or old):
                continue
            known = self._store.count(f"source = {quoted(old)}")
            if 0 < known <= 2 * copies and not glob.glob(old, recursive=True):
                command = f"longclip index --db {shlex.quote(self._store.place)} --forget"
                yield (
                    f"{copies:,} of {image_count(known)} of {old}, which is not there any more, "
                    f"are in {new} now. If that was moved: {command} {shlex.quote(old)}"
                )

    def _put(self, rows: Sequence[tuple[ImageTask, ImageRow]]) -> None:
        for start in range(0, len(rows), self._rows_at_once):
            self._store.put([row for _, row in rows[start : start + self._rows_at_once]])


def _by_name(unusable: Sequence[Unusable]) -> tuple[Unusable, ...]:
    return tuple(sorted(unusable, key=lambda each: each.uri))


def _copy(same: KnownImage, original: ImageRow) -> ImageRow:
    """Return the row of an image with the content of another one."""
    item, before = same.task.item, same.task.before
    folder, name = folder_and_name(item.uri)
    facts = replace(
        original.facts,
        uri=item.uri,
        source=before.source if before else same.task.source.name,
        folder=folder,
        name=name,
        bytes=same.bytes,
        mtime_ns=item.mtime_ns,
        caption=same.caption,
    )
    return ImageRow(facts, original.vector, original.thumbnail)
