"""`longclip search`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from longclip.cli.options import (
    AS_OPTIONS,
    AsJson,
    full_name,
    read_text,
    say_choice,
    say_waiting,
)
from longclip.errors import SearchError, UsageError
from longclip.options import Text
from longclip.search.config import SearchConfig

if TYPE_CHECKING:
    from longclip.search.query.query import Found, Query
    from longclip.search.query.searcher import Searcher


def search_command(
    text: Text = "",
    /,
    *,
    options: Annotated[SearchConfig, AS_OPTIONS],
    as_json: AsJson = False,
) -> None:
    """Find images by a description of any length, a picture, or both.

    Each sentence of the description is compared with each image that is found, and marked where
    the image satisfies it.

    Example: `longclip search "A lighthouse at dusk. A red boat waits below it." --db photos.db`

    Example: `longclip search "the same place at night" --image day.jpg --not people --db photos.db
    --after 2024 --sheet found.png`

    Parameters
    ----------
    text:
        The description, in as many sentences as you like; `-` reads it from standard input.
    """
    if options.model is not None:
        options = replace(options, model=full_name(options.model))
    say_waiting(f"opening {options.db} …")
    import json

    from rich.console import Console

    from longclip.search.database.lance_import import hide_pandas
    from longclip.search.query.print import print_found
    from longclip.util.files import check_writable

    hide_pandas()

    if options.sheet is not None:
        check_writable(options.sheet)
    query = _query(read_text(text), options)
    searcher = _open(options)
    if options.like is not None:
        query = replace(query, like=_stored_id(options.like, searcher))
    found = searcher.search(query)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        print_found(found, Console())
    if options.sheet or options.open:
        _show_sheet(found, query, searcher, options)


def _open(options: SearchConfig) -> "Searcher":
    """Open the database and its model, without torch where NumPy can compute the query."""
    from longclip.search.query.open import open_searcher, open_searcher_without_torch

    plain = options.engine == "auto" and options.dtype in ("auto", "float32")
    if plain and options.device in ("auto", "cpu"):
        images = options.image is not None
        if searcher := open_searcher_without_torch(options.db, options.model, images=images):
            return searcher
    try:
        return open_searcher(
            options.db,
            options.model,
            engine=options.engine,
            dtype=options.dtype,
            device=options.device,
            on_choice=say_choice,
        )
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise SearchError(
            f"a search of {options.db} with this model, device and dtype needs torch, which is not "
            "installed: pip install torch"
        ) from None


def _query(text: str, options: SearchConfig) -> "Query":
    from longclip.image.decode import decode_image
    from longclip.search.query import DEFAULT_TEXT_SHARE
    from longclip.search.query.query import Query

    has_picture = options.image is not None or options.like is not None
    if options.text_share is not None and not (has_picture and text.strip()):
        raise UsageError(
            "--text-share says what a text counts for beside a picture; give a text and --image or "
            "--like, or leave it out"
        )
    query = Query(
        text=text,
        without=options.without,
        image=decode_image(options.image) if options.image else None,
        where=options.where,
        folder=options.folder and _absolute(options.folder),
        after=options.after,
        before=options.before,
        count=options.count,
        exact=options.exact,
        text_share=DEFAULT_TEXT_SHARE if options.text_share is None else options.text_share,
        score_sentences=options.score_sentences,
    )
    query.condition()  # a filter that cannot be read is refused before the model is loaded
    return query


def _absolute(place: str) -> str:
    """Return a place as `longclip index` keeps it, without `..`."""
    from longclip.data.storage import is_url

    return place if is_url(place) else os.path.abspath(os.path.expanduser(place))


def _stored_id(name: str, searcher: "Searcher") -> str:
    """Return the id of a stored image that is named by its path, its URL or its id."""
    from longclip.search.database.schema import id_of
    from longclip.search.query.filter import check_encodable
    from longclip.util.unicode import unicode_forms

    check_encodable(name, "--like")
    places = [form for place in (name, _absolute(name)) for form in unicode_forms(place)]
    for id in (name, *map(id_of, places)):
        if searcher.store.facts(id):
            return id
    raise SearchError(
        f"{name} is not in {searcher.store.place}; name an image as a search shows it, or a file "
        "that is not indexed with --image"
    )


def _show_sheet(
    found: "Found", query: "Query", searcher: "Searcher", options: SearchConfig
) -> None:
    """Draw a contact sheet, write it, and with --open show it."""
    import tempfile

    from longclip.search.query.contact_sheet import contact_sheet, picture
    from longclip.search.query.print import show_picture
    from longclip.util.files import atomic_path

    wanted = [hit.facts.id for hit in found.hits]
    ids: Sequence[str] = [*wanted, query.like] if query.like else wanted
    rows = {row.facts.id: row.thumbnail for row in searcher.store.rows("id", ids)}
    image = picture(rows[query.like]) if query.like in rows else query.image
    drawn = contact_sheet(found, rows, text=query.text, without=query.without, image=image)
    path = options.sheet or Path(tempfile.mkdtemp(prefix="longclip-search-")) / "found.png"
    with atomic_path(path) as temporary:
        drawn.save(temporary, "PNG")
    failed = options.open and not show_picture(path)
    hint = " (no program on this machine shows it)" if failed else ""
    # Also where it is shown: what has started a program does not know what becomes of it.
    print(f"written: {path}{hint}", file=sys.stderr)
