"""Store: a database that is written to, by one process at a time.

Every write is one commit: after a kill the table is as it was before or after it, never between.
Rows are merged by `uri`, so what a process that was killed writes again, or two writers of object
storage write at once, is there once. Still there is one writer at a time: two would embed the same
images, and each would forget what only the other one has listed.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from pathlib import Path
from shutil import rmtree
from typing import Any, TextIO

import pyarrow as pa
from filelock import lock_descriptor

from longclip.data.storage import is_url
from longclip.errors import SearchError
from longclip.search.database.lance import among, commit, connect, quoted, tables
from longclip.search.database.origin import Origin
from longclip.search.database.reader import QUALITY, SOURCES, TABLE, Reader
from longclip.search.database.schema import About, ImageRow, IndexQuality, schema, to_arrow
from longclip.search.database.shard_table import ShardTable
from longclip.search.sources.image_source import container_of

_OLD_VERSIONS = timedelta(hours=1)
"""How long what a reader may still be looking at is kept after a write."""


class Store(Reader):
    """A database to read and to write; one writer at a time, see `writer_lock`."""

    @staticmethod
    def create(
        place: str, about: About, *, replace: bool = False, sources: Sequence[str] = ()
    ) -> "Store":
        """Make a new, empty database; with `replace` in the place of the one that is there.

        What is there may be damaged.
        """
        form = schema(about.width, about.metadata())
        number = form.get_field_index("source")
        kept = form.field(number).with_metadata({SOURCES: json.dumps(list(sources))})
        form = form.set(number, kept)
        origin = Origin(about.model, tuple(sources))
        if replace:
            ShardTable(place).drop_all()
        database = connect(place)
        whole = not replace or _is_whole(database)
        if whole:
            mode = "overwrite" if replace else "create"
            make = partial(database.create_table, TABLE, schema=form, mode=mode)
        else:
            # For whoever goes on, should this be killed halfway.
            commit(place, lambda: origin.keep(place))
            make = partial(_create_anew, place, form)
        store = Store(place, commit(place, make))
        store.commit(lambda: origin.keep(place))
        return store

    def put(self, rows: Sequence[ImageRow]) -> None:
        """Write rows, in place of those with the same `uri`."""
        if not rows:
            return
        data = to_arrow(list(rows), self._table.schema)
        merging = self._table.merge_insert("uri")
        merging = merging.when_matched_update_all().when_not_matched_insert_all()
        self.commit(lambda: merging.execute(data))

    def remember(self, sources: Sequence[str]) -> None:
        """Keep the names of what is indexed, so that it can be indexed again without naming it."""
        new = [name for name in dict.fromkeys(sources) if name not in self.sources()]
        if new:
            self._keep("source", SOURCES, json.dumps([*self.sources(), *new]))
        self._keep_origin()

    def forget(self, source: str) -> None:
        """Remove a source and all rows from it."""
        where = f"source = {quoted(source)}"
        shards = ShardTable(self.place)
        shards.drop_source(source)
        # A shard is noted under the source that was the last to hold it, a row under the first.
        shards.drop(self.containers(where))
        self.commit(lambda: self._table.delete(where))
        left = [name for name in self.sources() if name != source]
        self._keep("source", SOURCES, json.dumps(left))
        self._keep_origin()

    def _keep_origin(self) -> None:
        origin = Origin(self.about.model, tuple(self.sources()))
        self.commit(lambda: origin.keep(self.place))

    def delete(self, uris: Sequence[str]) -> None:
        """Forget images; those that are not there do not matter."""
        containers = {container for uri in uris if (container := container_of(uri)) is not None}
        if containers:
            # Before the rows: a shard that was taken for whole would not be looked into again.
            ShardTable(self.place).drop(containers)
        for where in among("uri", uris):
            self.commit(partial(self._table.delete, where))

    def compact(self) -> None:
        """Join small files, add new rows to the indexes, remove versions nobody reads any more."""
        # Rows that were written and not committed, as by a process that was killed, are another
        # writer's where there is no lock; else nobody's.
        tidy = partial(
            self._table.optimize,
            cleanup_older_than=_OLD_VERSIONS,
            delete_unverified=not is_url(self.place),
        )
        if not is_url(self.place) and not _is_whole(connect(self.place)):
            # An earlier version is damaged, which nothing but this would read: it goes.
            for old in sorted(Path(self.place, f"{TABLE}.lance").glob("_versions/*.manifest"))[1:]:
                old.unlink(missing_ok=True)
        self.commit(tidy)

    def keep_quality(self, quality: IndexQuality) -> None:
        """Keep what has been measured of the vector index, in the table itself."""
        self._keep("vector", QUALITY, json.dumps(asdict(quality)))
        self._quality = None

    def _keep(self, field: str, key: str, value: str) -> None:
        kept = {"path": field, "metadata": {key: value}}
        self.commit(lambda: self._table.update_field_metadata(kept))

    def commit(self, change: Callable[[], object]) -> None:
        """Change the table; raises SearchError where that cannot be written."""
        commit(self.place, change)


def _is_whole(database: Any) -> bool:
    """Return whether a new version can be put over those of the table, all of which it reads."""
    if TABLE not in tables(database):
        return True
    try:
        database.open_table(TABLE).list_versions()
    except Exception:  # see `lance.reading`
        return False
    return True


def _create_anew(place: str, form: pa.Schema) -> Any:
    """Make an empty table in the place of one that is damaged."""
    database = connect(place)
    if is_url(place):
        database.drop_table(TABLE)
        return database.create_table(TABLE, schema=form)
    # Beside it first: killed at any moment, it ends with the old one, the new one, or none.
    beside, name = Path(place, ".rebuild"), f"{TABLE}.lance"
    rmtree(beside, ignore_errors=True)
    connect(str(beside)).create_table(TABLE, schema=form)
    Path(place, name).rename(beside / "damaged")
    (beside / name).rename(Path(place, name))
    rmtree(beside, ignore_errors=True)
    return database.open_table(TABLE)


LOCK_NAME = ".writer"
_UNFINISHED = re.compile(r"\.tmp\w+|.+#\d+")
"""Names of files that Lance and its object store write to, before these get their own."""

_MAX_ATTEMPTS = 100
"""How often others may clear the lock away between two steps of ours before we give up."""


@contextmanager
def writer_lock(place: str) -> Iterator[None]:
    """Hold the lock of a database on disk; it goes when the process does, however it ends.

    Where nothing has been written beside it, no file and no directory stays behind that was not
    there before.

    In object storage there is no lock: rows are merged by `uri`, so two writers do work twice but
    nothing wrong.

    Raises:
        SearchError: if another process writes; says which. Also if nothing can be written.
    """
    if is_url(place):
        yield
        return
    folder = Path(place)
    file, made = _locked(folder)
    with file:
        try:
            _remove_unfinished(folder)
            yield
        finally:
            # Cleared away while the lock is held. Windows removes no open file: there it stays.
            with suppress(OSError):
                if os.listdir(folder) == [LOCK_NAME]:
                    (folder / LOCK_NAME).unlink()
                    for each in reversed(made):
                        each.rmdir()  # fails, as it should, where others have put something in it


def _remove_unfinished(folder: Path) -> None:
    """Remove files that a killed writer has begun, which Lance never removes; the lock is ours."""
    for table in folder.glob("*.lance"):
        for path in table.rglob("*"):
            if _UNFINISHED.fullmatch(path.name):
                with suppress(OSError):
                    path.unlink()


def _locked(folder: Path) -> tuple[TextIO, Sequence[Path]]:
    """Return the file of the lock, which is ours, and the directories that were made for it."""
    made: list[Path] = []
    for _ in range(_MAX_ATTEMPTS):
        try:
            missing = takewhile(lambda each: not each.is_dir(), (folder, *folder.parents))
            for each in reversed(list(missing)):
                with suppress(FileExistsError):
                    each.mkdir()
                    made.append(each)
            file = (folder / LOCK_NAME).open("a+", encoding="utf-8")
        except FileNotFoundError:  # another process clears the directory away meanwhile
            continue
        except OSError as error:
            raise SearchError(f"{folder} cannot be written: {error.strerror or error}") from error
        if not lock_descriptor(file.fileno(), blocking=False):
            raise SearchError(f"{folder} is being written by {_writer(file)}; wait for it")
        # The last writer may have removed the file between our opening and our locking it: then
        # the next one would open, and lock, another file of that name.
        try:
            is_there = os.path.samestat((folder / LOCK_NAME).stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            is_there = False
        if is_there:
            about = {
                "process": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now().isoformat(" ", "seconds"),
            }
            file.truncate(0)
            file.write(json.dumps(about))
            file.flush()
            return file, made
        file.close()
    raise SearchError(f"{folder} cannot be written: no directory stays there")


def _writer(file: TextIO) -> str:
    """Return who holds the lock of a file, and close it."""
    with file:
        try:
            file.seek(0)
            about = json.loads(file.read())
            return f"process {about['process']} on {about['host']} since {about['since']}"
        # Windows lets nobody else read a locked file.
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
