from datetime import datetime

import pytest

pytest.importorskip("lancedb")

from longclip.errors import FilterError
from longclip.search.query.query import combined_filter, naming_as_written
from tests.helpers.databases import database, row, vectors

PLACES = (
    "/photos/1.jpg",
    "/photos/sea/2.jpg",
    "/photos2/3.jpg",
    "/photos/100%_it's/4.jpg",
    "/photos/100 it's/5.jpg",
    "/tars/a.tar::6.jpg",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = []
    for month, (uri, vector) in enumerate(zip(PLACES, vectors(len(PLACES)), strict=True), 1):
        folder = uri.rpartition("::")[0] or uri.rpartition("/")[0]
        taken = datetime(2024, month, 15, 12) if month < 6 else None
        name = uri.removeprefix(folder).strip("/:")
        rows.append(row(uri, vector, folder=folder, name=name, taken=taken))
    return database(tmp_path_factory.mktemp("filters"), rows)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "123456"),
        ({"folder": "/photos"}, "1245"),
        ({"folder": "/photos/"}, "1245"),
        ({"folder": "/"}, "123456"),
        ({"folder": "/photos/100%_it's"}, "4"),
        ({"folder": "/tars/a.tar"}, "6"),
        ({"folder": "/tars"}, "6"),
        ({"after": "2024"}, "12345"),
        ({"after": "2024-03"}, "345"),
        ({"after": "2024-03-15T12:00"}, "345"),
        ({"after": "2024-03-15T12:01"}, "45"),
        ({"before": "2024-03-15"}, "12"),
        ({"after": "2024-02", "before": "2024-04", "folder": "/photos"}, "2"),
        ({"where": "name = '1.jpg' OR name = '3.jpg'", "folder": "/photos"}, "1"),
        ({"where": " ", "folder": "", "after": "", "before": None}, "123456"),
    ],
)
def test_conditions_are_all_asked_for(store, wanted, expected):
    condition = combined_filter(**wanted)
    hits = store.nearest(vectors(1)[0], 20, where=condition)
    assert "".join(sorted(hit.facts.name[0] for hit in hits)) == expected
    assert store.count(condition) == len(expected)


@pytest.mark.parametrize("more", [{}, {"folder": "/photos"}, {"after": "2024", "before": "2025"}])
def test_what_cannot_be_read_is_named_as_it_was_written(store, more):
    condition = combined_filter("colour = 3", **more)
    with (
        pytest.raises(FilterError, match=r"^the filter 'colour = 3' cannot be read"),
        naming_as_written(store, "colour = 3"),
    ):
        store.count(condition)


def test_other_errors_stay_as_they_are(store):
    with pytest.raises(FilterError, match="sea"), naming_as_written(store, "width > 1"):
        raise FilterError("sea")
    with pytest.raises(FilterError, match="sea"), naming_as_written(store, " "):
        raise FilterError("sea")
    with pytest.raises(KeyError), naming_as_written(store, "colour = 3"):
        raise KeyError


@pytest.mark.parametrize("date", ["yesterday", "31.5.2024", "2024-13"])
def test_a_date_that_cannot_be_read_is_named(date):
    with pytest.raises(FilterError, match=f"'{date}' is no date; write 2024"):
        combined_filter(after=date)
