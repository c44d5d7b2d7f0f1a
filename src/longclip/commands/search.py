"""`longclip search`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from longclip.errors import UsageError
from longclip.search.query import DEFAULT_COUNT

if TYPE_CHECKING:
    from PIL.Image import Image

    from longclip.search.query.query import Found, Query
    from longclip.search.query.searcher import Searcher

_Flag = Annotated[bool, Parameter(negative="")]


def search_command(
    text: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    /,
    *,
    db: str,
    image: Path | None = None,
    like: str | None = None,
    without: Annotated[
        tuple[str, ...], Parameter(name="--not", negative="", allow_leading_hyphen=True)
    ] = (),
    where: str | None = None,
    folder: str | None = None,
    after: str | None = None,
    before: str | None = None,
    count: Annotated[int, Parameter(name=("--count", "-k"))] = DEFAULT_COUNT,
    text_share: float = 0.5,
    exact: _Flag = False,
    why: bool = True,
    sheet: Path | None = None,
    open: _Flag = False,
    model: str | None = None,
    json: _Flag = False,
) -> None:
    """Find images by a description of any length, by a picture, or by both.

    Each sentence of the description is compared with each image that is found, and marked where
    the image satisfies it.

    Example: `longclip search "A lighthouse at dusk. A red boat waits below it." --db photos.db`

    Example: `longclip search "the same place at night" --image day.jpg --not people --db photos.db
    --after 2024 --sheet found.png`

    Parameters
    ----------
    text:
        What is to be seen, in as many sentences as you like; `-` reads it from standard input.
    db:
        A database that `longclip index` has made: a directory or a URL.
    image:
        A picture that what is found should resemble.
    like:
        An image of the database in its place, by path, URL or id; it is not found itself.
    without:
        What is not to be seen. Repeat the option for several.
    where:
        An SQL condition on what is known of images: `width > 1000 AND camera LIKE 'Nikon%'`.
    folder:
        Only images in this folder or below.
    after:
        Only photos taken then or later: 2024, 2024-05, 2024-05-31.
    before:
        Only photos taken earlier than that.
    count:
        Number of images.
    text_share:
        From 0 to 1, what the text counts for beside a picture.
    exact:
        Compare with every image, even where there is an index.
    why:
        Compare each sentence with each image.
    sheet:
        Draw the images that are found into a .png file there.
    open:
        Show them in the program that this machine shows pictures with.
    model:
        Where the model is that the database was made with, if it has moved.
    json:
        Print everything as JSON.
    """
    import json as json_format

    from rich.console import Console

    from longclip.inputs import decode_image
    from longclip.search.query.filters import combined_filter, naming_as_written
    from longclip.search.query.print import print_found
    from longclip.search.query.query import Query
    from longclip.search.query.searcher import open_searcher

    _check_sheet(sheet)
    query = Query(
        text=sys.stdin.read() if text == "-" else text,
        without=without,
        image=decode_image(image) if image else None,
        where=combined_filter(
            where, folder=folder and _absolute(folder), after=after, before=before
        ),
        count=count,
        exact=exact,
        text_share=text_share,
        why=why,
    )
    searcher = open_searcher(db, model)
    query = _with_like(query, like, searcher)
    with naming_as_written(searcher.store, where):
        found = searcher.search(query)
    if json:
        print(json_format.dumps(found.to_json(), ensure_ascii=False))
    else:
        print_found(found, Console())
    if sheet or open:
        _show(_drawn(found, query, searcher), sheet, shown=open)


def _absolute(place: str) -> str:
    """As `longclip index` writes it, without `..`."""
    from longclip.data.storage import is_url

    return place if is_url(place) else os.path.abspath(os.path.expanduser(place))


def _with_like(query: "Query", like: str | None, searcher: "Searcher") -> "Query":
    if like is None:
        return query
    from dataclasses import replace

    from longclip.errors import SearchError
    from longclip.search.database.schema import id_of

    for id in (like, id_of(like), id_of(_absolute(like))):
        if searcher.store.facts(id):
            return replace(query, like=id)
    raise SearchError(
        f"{like} is not in {searcher.store.place}; name an image as a search shows it, or a file "
        "that is not indexed with --image"
    )


def _check_sheet(sheet: Path | None) -> None:
    from longclip._files import check_writable

    if sheet is None:
        return
    if sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet {sheet}: contact sheets are PNG files; name one, like found.png")
    check_writable(sheet)


def _drawn(found: "Found", query: "Query", searcher: "Searcher") -> "Image":
    from longclip.search.query.contact_sheet import contact_sheet, picture

    wanted = [hit.facts.id for hit in found.hits]
    ids: Sequence[str] = [*wanted, query.like] if query.like else wanted
    rows = {row.facts.id: row.thumbnail for row in searcher.store.rows("id", ids)}
    seen = query.image
    if query.like in rows:
        seen = picture(rows[query.like])
    return contact_sheet(found, rows, text=query.text, without=query.without, image=seen)


def _show(drawn: "Image", sheet: Path | None, *, shown: bool) -> None:
    import tempfile

    from longclip._files import atomic_path
    from longclip.search.query.viewer import show

    path = sheet or Path(tempfile.mkdtemp(prefix="longclip-search-")) / "found.png"
    with atomic_path(path) as temporary:
        drawn.save(temporary, "PNG")
    failed = shown and not show(path)
    hint = " (no program on this machine shows it)" if failed else ""
    # Also where it is shown: what has started a program does not know what becomes of it.
    print(f"written: {path}{hint}", file=sys.stderr)
