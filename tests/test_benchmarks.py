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


SMALL = (
    "text_encode.py --limit 2 --rounds 1",
    "ceiling.py --architectures nano --texts 2 --images 2 --rounds 1",
    "train_step.py --architecture nano --batch-size 4 --depth 1 --only longclip published",
    "search.py --index --architecture nano --count 8 --pixels 64x48 --rounds 1 --out {out}",
    "search.py --queries --vectors 3000 --exact-below 1000 --rounds 1 --out {out}",
    "search.py --indexes --vectors 3000 --only IVF_RQ --out {out}",
    "search.py --load --architecture nano --rows 300 --clients 2 --seconds 1 --out {out}",
    "cold_start.py --rounds 1 --models nano --out {out}",
    "engines.py --texts 2 --images 2 --rounds 1 --only torch --out {out}",
    "precision.py nano --stretch --limit 20 --out {out}",
    "retrieval_metrics.py --images 50 --rounds 1 --threads 1",
    "checkpoints.py ViT-B/32 --rounds 1 --load-from ViT-B/32 --out {out}",
)
"""Scripts with the least that they can measure, which says nothing: only that they run."""


@pytest.mark.slow
@pytest.mark.parametrize("command", SMALL, ids=[one.split(" --out")[0] for one in SMALL])
def test_a_script_measures_something(run_all, command, tmp_path):
    benchmark = run_all.Benchmark("small", command, 5.0)
    status, _, figures = run_all.run(benchmark, tmp_path)
    assert status == "done", (tmp_path / "small.txt").read_text()
    assert figures or "--indexes" in command, "no figure was recorded"


def test_each_script_of_the_list_is_run_small(run_all):
    def kind(command: str) -> str:  # search.py is several
        script, first = command.split()[:2]
        return f"{script} {first}" if script == "search.py" else script

    assert {kind(one.command) for one in run_all.BENCHMARKS} <= set(map(kind, SMALL))
