"""Images in object storage and other file systems at URLs."""

import os
from collections.abc import Mapping
from typing import Any

from longclip.data.names import SEARCHED_SUFFIXES
from longclip.data.storage import (
    changed_ns,
    file_system,
    is_hidden,
    list_below,
    list_matching,
    read_url,
)
from longclip.errors import SearchError
from longclip.search.sources.image_source import SHARDS, Item, Listing, search_errors
from longclip.search.sources.sidecars import MAX_CAPTION_BYTES, caption_beside, caption_of


class StorageSource:
    """All images below a URL, or one image: `s3://bucket/photos`, `gs://…`, `az://…`."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    @search_errors()
    def list(self) -> Listing:
        """List the storage once."""
        files, path = file_system(self.name)
        found = list_below(self.name, files, path)
        if not found:
            raise SearchError(f"{self.name}: there is nothing; check the address")
        names = [
            name
            for name in found
            if name == path or (_is_image(name) and not is_hidden(name[len(path) :]))
        ]
        shards = sum(name.endswith(SHARDS) for name in found)
        if shards and not names:
            raise SearchError(
                f"{self.name} holds no images but {shards:,} shards; name those, in quotes: "
                f"'{self.name}/*{SHARDS[0]}'"
            )
        return Listing(_items(files, found, names))

    def read(self, item: Item) -> bytes:
        """Fetch the file."""
        return read_url(item.uri)

    def caption(self, item: Item) -> str | None:
        """Return the text of the file beside it."""
        if item.place is None:
            return None
        try:
            content = read_url(item.place, 0, MAX_CAPTION_BYTES)
        except OSError:
            return None
        return caption_of(content, item.place)


class StoragePattern(StorageSource):
    """The image files that a pattern matches, listed together: `s3://bucket/photos/2024*.jpg`."""

    @search_errors()
    def list(self) -> Listing:
        """List each folder that may hold some once."""
        files, path = file_system(self.name)
        names, found = list_matching(self.name, files, path)
        return Listing(_items(files, found, [name for name in names if _is_image(name)]))


def _items(files: Any, found: Mapping[str, dict[str, Any]], names: list[str]) -> list[Item]:
    """Return the images with these names, and the captions beside them."""
    items = []
    for name in names:
        beside = caption_beside(name, found.__contains__)
        changed = max(changed_ns(found[name]), changed_ns(found[beside]) if beside else 0)
        place = files.unstrip_protocol(beside) if beside else None
        size = int(found[name]["size"])
        items.append(Item(files.unstrip_protocol(name), size, changed, place))
    return items


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SEARCHED_SUFFIXES
