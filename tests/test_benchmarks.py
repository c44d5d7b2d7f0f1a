"""The table that all benchmarks together write."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def run_all(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("run_all", BENCHMARKS / "run_all.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_all", module)
    spec.loader.exec_module(module)
    return module


def test_what_fails_or_hangs_is_told_and_the_others_go_on(run_all, tmp_path, monkeypatch):
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    record = "from figures import *; record(Figure('{}', 's', 2.0, 'peer', 3.0, True))\n"
    (tmp_path / "good.py").write_text(record.format("good"))
    (tmp_path / "fails.py").write_text(record.format("half") + "raise SystemExit('no')\n")
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    each = [run_all.Benchmark(name, f"{name}.py", 0.05) for name in ("fails", "hangs", "good")]
    rows = [(one, *run_all.run(one, tmp_path)) for one in each]
    table = run_all.report(rows, "facts")
    assert "failed, see" in table
    assert "stopped after 0.05 minutes, see" in table
    assert "| half | 2 s | 3 (peer) | 1.50× |" in table
    assert "| good | 2 s | 3 (peer) | 1.50× |" in table


def test_a_ratio_above_one_is_in_our_favour(run_all):
    figure = run_all.Figure
    assert figure("speed", "texts/s", 30.0, "peer", 10.0).ratio == 3
    assert figure("time", "s", 10.0, "peer", 30.0, lower_is_better=True).ratio == 3
    assert figure("alone", "s", 10.0).ratio is None


def test_each_script_of_the_list_is_there(run_all):
    for benchmark in run_all.BENCHMARKS:
        assert (BENCHMARKS / benchmark.command.split()[0]).is_file()
