"""All benchmarks in a short form, one after the other, and one table of what they measured.

    python benchmarks/run_all.py --out runs/bench

That is `make bench`, under a quarter of an hour on two cores. Each script runs with settings that
show its claim in a minute or two; the documents state which settings their figures come from. A
script that fails, or takes longer than it may, is told in the table, and the others go on.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from figures import FILE, Figure, machine_facts, recorded

HERE = Path(__file__).parent
LIBRARIES = ("longclip", "torch", "transformers", "open_clip_torch", "sentence-transformers")
LIBRARIES += ("onnxruntime", "openvino", "lancedb", "faiss-cpu", "numpy")


@dataclass(frozen=True)
class Benchmark:
    """A script in its short form.

    Attributes:
        title: what it shows.
        command: the script and its options; {out} stands for a folder of its own.
        minutes: after which it is stopped.
    """

    title: str
    command: str
    minutes: float = 4.0


BENCHMARKS = (
    Benchmark("Text encoding", "text_encode.py --limit 48 --rounds 2 --precision auto"),
    Benchmark("Share of the ceiling", "ceiling.py --architectures ViT-B/16 --texts 8 --rounds 3"),
    Benchmark("Training step", "train_step.py --batch-size 16 --depth 1 --only longclip published"),
    Benchmark("Indexing", "search.py --index --count 48 --rounds 1 --out {out}"),
    Benchmark("Queries", "search.py --queries --vectors 100000 --rounds 1 --out {out}"),
    Benchmark(
        "Service",
        "search.py --load --architecture nano --rows 20000 --clients 64 --seconds 10 --out {out}",
    ),
    Benchmark("Cold start", "cold_start.py --rounds 3 --models nano --out {out}"),
    Benchmark("Engines", "engines.py --texts 8 --images 4 --rounds 2 --out {out}", 5.0),
    Benchmark("Recall in 8 bits", "precision.py nano --stretch --limit 300 --out {out}"),
    Benchmark("Recall", "retrieval_metrics.py --images 1000 --rounds 1 --threads 1"),
    Benchmark("Checkpoints", "checkpoints.py ViT-B/16 --out {out} --rounds 1 --load-from ViT-B/16"),
)


def run(benchmark: Benchmark, out: Path) -> tuple[str, float, list[Figure]]:
    """Run a script, its output shown and kept: how it ended, its seconds, its figures."""
    name = benchmark.title.lower().replace(" ", "-")
    script, *options = shlex.split(benchmark.command)
    place, log, figures = out / name, out / f"{name}.txt", out / f"{name}.jsonl"
    figures.unlink(missing_ok=True)
    words = [option.format(out=place) for option in options]
    print(f"\n== {benchmark.title}: {script} {shlex.join(words)}", flush=True)
    began, status = time.perf_counter(), "done"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {FILE: str(figures)},
            start_new_session=True,  # so that its own processes are stopped with it
        )
        try:
            code = process.wait(60 * benchmark.minutes)
            status = "done" if code == 0 else f"failed, see {log}"
        except subprocess.TimeoutExpired:
            status = f"stopped after {benchmark.minutes:g} minutes, see {log}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
    print(log.read_text(encoding="utf-8").rstrip()[-4000:], flush=True)
    return status, time.perf_counter() - began, recorded(figures)


def report(rows: list[tuple[Benchmark, str, float, list[Figure]]], facts: str) -> str:
    """Return the table in Markdown."""
    lines = [f"# Benchmarks of {date.today()}", "", facts, ""]
    lines += ["| | what | ours | best beside it | ratio |", "|---|---|---:|---:|---:|"]
    for benchmark, status, seconds, figures in rows:
        title = f"{benchmark.title} ({seconds:.0f} s)"
        if status != "done":
            lines.append(f"| {title} | {status} | | | |")
        for number, figure in enumerate(figures):
            peer = f"{figure.theirs:.4g} ({figure.peer})" if figure.theirs is not None else ""
            ratio = f"{figure.ratio:.2f}×" if figure.ratio else ""
            head = "" if number or status != "done" else title
            ours = f"{figure.ours:.4g} {figure.unit}"
            lines.append(f"| {head} | {figure.what} | {ours} | {peer} | {ratio} |")
        if status == "done" and not figures:
            lines.append(f"| {title} | no figures | | | |")
    lines += ["", "A ratio above 1 is in our favour.", ""]
    lines += ["| | command |", "|---|---|"]
    lines += [f"| {each.title} | `python benchmarks/{each.command}` |" for each, *_ in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--only", nargs="+", help="titles, or how they begin")
    a = parser.parse_args()
    only = tuple(word.lower() for word in a.only or ("",))
    chosen = [each for each in BENCHMARKS if each.title.lower().startswith(only)]
    if not chosen:
        parser.error(f"none of these: {', '.join(each.title for each in BENCHMARKS)}")
    a.out.mkdir(parents=True, exist_ok=True)
    facts = "\n".join(f"- {name}: {value}" for name, value in machine_facts(LIBRARIES))
    print(facts)
    rows = [(each, *run(each, a.out)) for each in chosen]
    text = report(rows, facts)
    (a.out / "report.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten: {a.out / 'report.md'}")
    sys.exit(any(status != "done" for _, status, *_ in rows))


if __name__ == "__main__":
    main()
