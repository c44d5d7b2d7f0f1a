"""LanceDB is imported without the libraries that its tables do not use, and works as it does with.

Each test is a process of its own: what is imported in this one cannot be undone.
"""

import subprocess
import sys
from pathlib import Path

_QUERY = """
import sys
import numpy as np
from longclip.search.database.lance_import import hide_pandas, import_lancedb
hide_pandas()
lancedb = import_lancedb()
table = lancedb.connect(sys.argv[1]).open_table("images")
found = table.search(np.array([0, 1], np.float32)).where("id > 0").limit(1).to_arrow()
assert found["id"].to_pylist() == [1], found
assert table.count_rows() == 2
assert table.take_offsets([1]).to_arrow()["id"].to_pylist() == [1]
"""

_UNUSED = """
unused = ("lance_namespace_urllib3_client", "urllib3", "pyarrow.dataset", "pandas", "torch")
assert not [name for name in unused if name in sys.modules]
"""

_MAKE = """
import sys
import pyarrow as pa
{before}
from longclip.search.database.lance_import import import_lancedb
lancedb = import_lancedb()
vectors = pa.array([[1, 0], [0, 1]], pa.list_(pa.float16(), 2))
rows = pa.table({{"id": [0, 1], "vector": vectors}})
{rows}
database = lancedb.connect(sys.argv[1])
database.create_table("images", rows)
assert list(database.list_tables().tables) == ["images"]
"""


def _run(code: str, place: Path) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(place)], check=True)


def _make(place: Path, before: str = "", rows: str = "") -> None:
    _run(_MAKE.format(before=before, rows=rows), place)


def test_a_query_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    _make(tmp_path)
    _run(_QUERY + _UNUSED, tmp_path)


def test_an_arrow_data_set_is_written_as_one(tmp_path: Path) -> None:
    """Its class was a stand-in when LanceDB chose its function for each kind of rows by class."""
    _make(tmp_path, rows="import pyarrow.dataset as ds; rows = ds.dataset(rows)")
    _run(_QUERY, tmp_path)


def test_a_data_frame_is_written_as_one(tmp_path: Path) -> None:
    _make(tmp_path, rows="rows = rows.to_pandas()")
    _run(_QUERY, tmp_path)


def test_what_asks_for_the_modules_afterwards_gets_the_real_ones(tmp_path: Path) -> None:
    _make(
        tmp_path,
        rows="""
import pyarrow.dataset
from lance_namespace import ListTablesResponse
assert pa.dataset.dataset(rows).count_rows() == 2
assert isinstance(pyarrow.dataset.dataset(rows), pyarrow.dataset.InMemoryDataset)
assert pa.compute.sum(rows["id"]).as_py() == 1
response = ListTablesResponse(tables=["a"])
assert isinstance(response, ListTablesResponse) and response.tables == ["a"]
assert not isinstance(rows, ListTablesResponse)
assert ListTablesResponse.from_json(response.to_json()) == response
""",
    )


def test_modules_that_were_there_before_are_taken(tmp_path: Path) -> None:
    _make(tmp_path, before="import pandas, pyarrow.dataset, pyarrow.compute as before")
    _make(tmp_path / "other", before="import lancedb")


def test_where_it_cannot_be_imported_so_it_is_imported_plainly(tmp_path: Path) -> None:
    """As of a version that calls something in one of these modules while it is imported."""
    _make(
        tmp_path,
        before="""
import longclip.search.database.lance_import as ours
ours._UNUSED += ("pyarrow.fs", "lancedb.rerankers")
""",
    )
    _run(_QUERY, tmp_path)


def test_hiding_pandas_hides_it_from_arrow_alone(tmp_path: Path) -> None:
    _run(
        """
import sys
from longclip.search.database.lance_import import hide_pandas
hide_pandas()
assert "pandas" not in sys.modules
import pyarrow as pa
assert pa.array([1.5, 2.5]).to_pandas().sum() == 4
import pandas
hide_pandas()
assert pandas.DataFrame({"a": [1]})["a"].sum() == 1
""",
        tmp_path,
    )
