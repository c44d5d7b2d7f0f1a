"""`longclip serve`, before it serves."""

from pathlib import Path

import pytest

from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lancedb", "fastapi", "uvicorn", "prometheus_client"):
        pytest.importorskip(name)
    monkeypatch.delenv("LONGCLIP_TOKEN", raising=False)


def test_without_a_database_it_says_how_to_make_one(run: Run, tmp_path: Path) -> None:  # noqa: F811
    outcome = run("serve", "--db", tmp_path / "none")
    assert outcome.code == 1
    assert "holds no database; make one: longclip index FOLDER --db" in outcome.err


def test_strangers_need_a_token(run: Run) -> None:  # noqa: F811
    outcome = run("serve", "--db", "db", "--host", "0.0.0.0")
    assert outcome.code == 1
    assert "--host 0.0.0.0 lets others in: give them a token, --token or LONG" in outcome.err


@pytest.mark.parametrize("port", [-1, 65_536])
def test_ports_that_there_are_not(port: int, run: Run) -> None:  # noqa: F811
    outcome = run("serve", "--db", "db", "--port", port)
    assert outcome.code == 1
    assert f"--port is {port}; it goes from 0, which takes a free one, to 65535" in outcome.err


def test_a_short_token_is_refused(run: Run) -> None:  # noqa: F811
    outcome = run("serve", "--db", "db", "--token", "secret")
    assert outcome.code == 1
    assert "16 printable ASCII characters" in outcome.err
    assert "secret" not in outcome.err


def test_missing_libraries_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else 1)
    outcome = run("serve", "--db", "db")
    assert outcome.code == 1
    assert 'needs uvicorn, which is not installed: pip install "longclip[search]"' in outcome.err
