import unicodedata
from datetime import datetime, timedelta

import pytest

pytest.importorskip("lancedb")

from lancedb.query import LanceEmptyQueryBuilder, LanceVectorQueryBuilder

from longclip.errors import FilterError, SearchError
from longclip.search.query.filter import HELP, MAX_DEPTH, MAX_TESTS, MAX_VALUES
from longclip.search.query.query import Query
from tests.helpers.databases import database, row, vectors
from tests.helpers.random_filters import check_filter, table_rows

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


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accented_letters_are_found_however_they_are_written(form, tmp_path):
    folders = [unicodedata.normalize(each, "/fotos/Zürich") for each in ("NFC", "NFD")]
    names = [unicodedata.normalize(each, "Café.jpg") for each in ("NFD", "NFC")]
    rows = [
        row(f"{folder}/{name}", vector, folder=folder, name=name)
        for folder, name, vector in zip(folders, names, vectors(2), strict=True)
    ]
    rows.append(
        row("/fotos/Zurich/Cafe.jpg", vectors(3)[2], folder="/fotos/Zurich", name="Cafe.jpg")
    )
    store = database(tmp_path, rows)

    def count(**wanted):
        wanted = {key: unicodedata.normalize(form, value) for key, value in wanted.items()}
        return store.count(Query("x", **wanted).condition())

    assert count(folder="/fotos/Zürich") == count(folder="/fotos/Zürich/") == 2
    assert count(where="name = 'Café.jpg'") == count(where="name IN ('Café.jpg', 'x')") == 2
    assert count(where="name LIKE 'Café%'") == 2
    assert count(where="NOT name = 'Café.jpg'") == count(where="name NOT LIKE 'Café%'") == 1
    assert count(where="name NOT IN ('Café.jpg')") == 1


@pytest.fixture(scope="module")
def random_store(tmp_path_factory):
    return database(tmp_path_factory.mktemp("random-filters"), table_rows())


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
        ({"where": "taken >= '2024-03'"}, "345"),
        ({"where": "taken BETWEEN date '2024-02-01' AND timestamp '2024-04-15 12:00'"}, "234"),
        ({"where": "taken IS NULL AND uri LIKE '%::%'"}, "6"),
        ({"where": "folder LIKE '%100\\%%'"}, "4"),
        ({"where": "name IN ('1.jpg', '2.jpg') AND NOT width < height"}, "12"),
        ({"where": "caption ILIKE '%SEA%'"}, ""),
        ({"where": "name = '1.jpg' OR name = '3.jpg'", "folder": "/photos"}, "1"),
        ({"where": " ", "folder": "", "after": "", "before": None}, "123456"),
    ],
)
def test_conditions_are_all_asked_for(store, wanted, expected):
    condition = Query("a", **wanted).condition()
    hits = store.nearest(vectors(1)[0], 20, where=condition)
    assert "".join(sorted(hit.facts.name[0] for hit in hits)) == expected
    assert store.count(condition) == len(expected)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("repeat('a', 1000000000) = name", "there is no column repeat"),
        ("name = concat('a', 'b')", "there is no column concat"),
        ("name = 'a' || 'b'", "no filter has '||' (character 12)"),
        ("fodler = '/a'", "there is no column fodler; did you mean folder? (character 1)"),
        ("thumbnail IS NULL", "there is no column thumbnail"),
        ('name = "a.jpg"', "a text stands in single quotes (character 8)"),
        ("width > 'a'", "width takes a number: 1000 (character 9)"),
        ("name = 5", "name takes a text: 'Nikon' (character 8)"),
        ("taken > 2024", "taken takes a date: '2024-05-31' (character 9)"),
        ("taken > 'soon'", "'soon' is no date; write 2024"),
        ("width LIKE '1%'", "width is a whole number, and LIKE takes a text"),
        ("name > width", "name is a text, width a whole number"),
        ("name = NULL", "nothing equals NULL; write COLUMN IS NULL"),
        ("1 = 1", "it compares two values, and no column"),
        ("width", "it ends where a comparison should stand (character 6)"),
        ("width = 1 height", "'height' stands where AND, OR or the end should stand"),
        ("width = 1; DROP TABLE images", "no filter has ';' (character 10)"),
        ("name = 'a", "this text has no closing '"),
        ("name NOT = 'a'", "'=' stands where IN, BETWEEN or LIKE should stand"),
        ("name IN ()", "')' stands where a value should stand"),
        ("width = 1e999", "the number 1e999… is too large"),
        ("width = " + "1" * 9000 + "x", "no filter has"),
        ("name = '\ud800'", "half a character"),
        ("(" * 17 + "width = 1" + ")" * 17, "more than 16 parentheses lie within one another"),
        (" OR ".join(["width = 1"] * 101), "it has more than 100 tests"),
        ("width IN (" + ",".join(["1"] * 1001) + ")", "its lists have more than 1,000 values"),
        (f"name LIKE '{'%' * 201}'", "a pattern has at most 200 characters"),
        ("(" * 10_001, "it has 10,001 characters, of at most 10,000"),
    ],
)
def test_what_is_no_filter_is_refused_with_the_reason_and_the_grammar(store, where, said):
    with pytest.raises(FilterError) as refused:
        Query("a", where=where, folder="/photos").condition()
    words = str(refused.value)
    assert said in words
    if "half" not in said:
        assert words.startswith("the filter ")
        assert words.endswith(HELP)
    assert len(words) < 1000


@pytest.mark.parametrize(
    "where",
    [
        " OR ".join(["width IN (1, 2, 3)"] * MAX_TESTS),
        "NOT " * 2000 + "width = 1",
        "(" * MAX_DEPTH + "width = 1" + ")" * MAX_DEPTH,
        "name IN (" + ", ".join(f"'{number}'" for number in range(MAX_VALUES)) + ")",
        f"name LIKE '{'%a_' * 66}'",
    ],
)
def test_what_is_within_the_bounds_is_read_by_the_database(store, where):
    assert store.count(Query("a", where=where).condition()) == 0


def test_alternating_tests_as_deep_as_can_be_are_read(store):
    where = "width = 1"
    for number in range(MAX_DEPTH):
        where = f"({where} {('AND', 'OR')[number % 2]} height != 1)"
    assert store.count(Query("a", where=where).condition()) == len(PLACES)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_filters_find_what_a_slow_evaluation_does(random_store, first):
    for seed in range(first, first + 20):
        check_filter(random_store, table_rows(), seed)


@pytest.mark.parametrize("folder", ["/\ud800", "/photos/\udcff"])
def test_a_folder_with_half_a_character_is_refused(folder):
    with pytest.raises(FilterError, match="the folder holds half a character"):
        Query("a", folder=folder).condition()


def test_a_search_that_takes_too_long_is_given_up(store, monkeypatch):
    asked = []

    def too_slow(query, *, timeout=None):
        asked.append(timeout)
        raise RuntimeError("lance error: Query Execution error: Query timeout after 2000 ms")

    monkeypatch.setattr(LanceVectorQueryBuilder, "to_arrow", too_slow)
    monkeypatch.setattr(LanceEmptyQueryBuilder, "to_arrow", too_slow)
    monkeypatch.setattr(store, "max_seconds", 2)
    for ask in (lambda: store.count("width > 1"), lambda: store.nearest(vectors(1)[0], 3)):
        with pytest.raises(
            SearchError, match="did not answer within 2 s; ask with a simpler filter"
        ):
            ask()
    assert asked == [timedelta(seconds=2)] * 2


@pytest.mark.parametrize("date", ["yesterday", "31.5.2024", "2024-13"])
def test_a_date_that_cannot_be_read_is_named(date):
    with pytest.raises(FilterError, match=f"'{date}' is no date; write 2024"):
        Query("a", after=date).condition()
