"""The table that all benchmarks together write."""

import importlib
import importlib.util
import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest

from longclip.evaluation import LengthCurve
from longclip.training.recipes import paper

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


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def test_each_constant_is_changed_alone(monkeypatch, tmp_path):
    constants = module("constants", monkeypatch)
    start = replace(paper(), steps=72, batch_size=128, out=tmp_path)
    usual = asdict(start)
    seen = []
    for config in constants.runs(constants.constants(start), start, (0,)):
        changed = {k for k, v in asdict(config).items() if v != usual[k]} - {"out"}
        seen.append(config.out.name)
        pairs = config.steps * config.batch_size
        if "steps" in changed:
            assert changed == {"batch_size", "steps"}
            assert pairs == 72 * 128
        else:
            assert len(changed) == (config.out.name != "paper-0")
    # Values besides the usual ones, batches at equal pairs and at equal steps, and the paper.
    assert len(set(seen)) == len(seen) == 4 + 3 + 4 + 4 + 4 + 1


def test_the_figure_of_the_constants_has_the_means_over_seeds(monkeypatch, tmp_path):
    constants = module("constants", monkeypatch)
    start = replace(paper(), steps=72, batch_size=128, out=tmp_path)
    chosen = constants.constants(start)
    with pytest.raises(SystemExit, match="no run is finished"):
        constants.figure(chosen, start, (0, 1))
    for config in constants.runs(chosen, start, (0, 1)):
        recall = {way: {"R@1": 0.5 + config.seed / 5} for way in ("text_to_image", "image_to_text")}
        config.out.mkdir()
        (config.out / "eval.json").write_text(
            json.dumps({"scenes/val": {"long": recall}, "scenes/val-short": {"short": recall}})
        )
    svg = constants.figure(chosen, start, (0, 1))
    titles = [e.text for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert "long T2I: 60.0% at 10" in titles
    assert "short I2T: 60.0% at 1024" in titles
    # A line upwards and downwards at each point: of five constants, by four columns.
    assert svg.count("stroke-width:1.25") == (5 + 4 + 5 + 5 + 5) * 4
    assert "| 20 (elsewhere) | 60.0 ± 14.1 |" in constants.table(chosen[0], start, (0, 1))


def test_lengths_are_told_by_context_and_recipe(monkeypatch, tmp_path):
    lengths = module("lengths", monkeypatch)
    experiment = lengths.Experiment("nano", tmp_path, (77, 248), ("paper",), (0, 1), "test", None)
    made = experiment.runs(paper())
    kinds = {(c.recipe, c.stretch, c.context_length, c.seed) for c in made}
    assert kinds == {
        (*kind, seed)
        for kind in (("paper", "none", 0), ("paper", "knowledge-preserved", 248))
        for seed in (0, 1)
    }
    hits = {"stretched-77-0": (0.2, 0.2), "stretched-248-0": (0.2, 0.4)}
    hits |= {config.out.name: (0.1, 0.6 + config.seed / 5) for config in made}
    for name, values in hits.items():
        (tmp_path / name).mkdir()
        curve = LengthCurve(1, 10, 10, (50, 150), (0, 0), values, values)
        (tmp_path / name / lengths.FILE).write_text(json.dumps(curve.to_json()))
        assert lengths.read_curve(tmp_path / name / lengths.FILE) == curve
    told = lengths.tables(experiment)
    assert "| stretched | 20.0 | 40.0 |" in told
    assert "| paper | 70.0 ± 14.1 | 70.0 ± 14.1 |" in told
    assert "| stretched | 50 | 140 |" in told
    svg = lengths.figure(experiment)
    titles = [e.text for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert "248 tokens: 40.0% at 150" in titles
    assert "248 tokens: effective length 140" in titles
    # Of the mean of both seeds: 10 + 0.6 n, and 95 % of 70.
    assert "77 tokens: effective length 145" in titles
