"""What an indexing did, as people read it."""

from dataclasses import replace
from typing import Any

from longclip.search.indexing.outcomes import IndexReport, report_lines
from longclip.search.sources.image_source import Unusable

NOTHING = IndexReport(
    found=0,
    added=0,
    changed=0,
    moved=0,
    unchanged=0,
    deleted=0,
    duplicates=0,
    bad=(),
    unread=(),
    links=(),
    notes=(),
    total=0,
    embedded=0,
    seconds=1,
    images_per_second=0,
    quality=None,
)


def lines(**values: Any) -> list[str]:
    return list(report_lines(replace(NOTHING, **values)))


def test_counts_are_said_as_people_say_them() -> None:
    assert lines() == ["no images found", "0 images in the database"]
    assert lines(found=1, added=1, embedded=1, images_per_second=2.0, total=1) == [
        "1 image found: 1 added",
        "1 embedded, 2 images/s, 1 s in all",
        "1 image in the database",
    ]
    assert "1 of them is a copy of another and shares its embedding" in lines(duplicates=1)
    assert "2 of them are copies of others and share their embeddings" in lines(duplicates=2)
    assert lines(deleted=2, total=3)[0] == "0 images found: 2 deleted"


def test_images_places_and_links_are_counted_by_themselves() -> None:
    bad, place, link = (Unusable(f"/{name}", "why") for name in ("a.jpg", "folder/", "b.jpg"))
    assert lines(found=3, added=2, bad=(bad,), unread=(place,), links=(link,), total=2) == [
        "3 images found: 2 added, 1 not usable",
        "1 image could not be used:",
        "  /a.jpg: why",
        "1 place could not be read:",
        "  /folder/: why",
        "1 link or device is no file:",
        "  /b.jpg: why",
        "2 images in the database",
    ]
    told = lines(found=2, bad=(bad, bad), unread=(place, place), links=(link, link))
    assert "2 images could not be used:" in told
    assert "2 places could not be read:" in told
    assert "2 links or devices are no files:" in told


def test_where_nothing_was_embedded_there_is_no_speed() -> None:
    told = lines(found=3, unchanged=3, images_per_second=80.0, total=3)
    assert told == ["3 images found: 3 unchanged", "3 images in the database"]


def test_a_source_of_nothing_usable_is_not_nothing_to_do() -> None:
    assert lines(found=1, bad=(Unusable("/a.txt", "not an image"),))[:3] == [
        "1 image found: 1 not usable",
        "1 image could not be used:",
        "  /a.txt: not an image",
    ]


def test_names_and_notes_cannot_write_to_the_terminal() -> None:
    told = lines(found=1, bad=(Unusable("/a\x1b[2J\n.txt", "no\rimage"),), notes=("b\x1b[31m",))
    assert "  /a\\x1b[2J\\n.txt: no\\rimage" in told
    assert "note: b\\x1b[31m" in told
