"""Report of an experiment: what was measured beside what its paper says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from longclip import __version__
from longclip.evaluation import EvaluationResult, results_tables
from longclip.evaluation.benchmarks import PUBLISHED, PublishedNumbers
from longclip.evaluation.benchmarks.catalogue import find_benchmark
from longclip.evaluation.leaderboard import percentages, reason_against
from longclip.report import ReportData, write_report
from longclip.reproduce.plan import Plan
from longclip.util.files import write_text


def write_reports(
    plan: Plan, results: Sequence[EvaluationResult], left_out: Mapping[str, str]
) -> tuple[Path, Path]:
    """Write `report.md` and `report.html`.

    Args:
        plan: what was done.
        results: of each model on each benchmark.
        left_out: benchmarks that were not measured, and why.

    Returns:
        Their paths.
    """
    markdown, page = plan.out / "report.md", plan.out / "report.html"
    write_text(markdown, as_markdown(plan, results, left_out))
    own = [[r for r in results if r.collection == name] for name in plan.benchmarks]
    tables = [
        table for found in own if found for table in results_tables({r.name: [r] for r in found})
    ]
    summary = f"{plan.experiment.title}, from {plan.config.model}. " + " ".join(_remarks(left_out))
    command = f"longclip reproduce {plan.name} --model {plan.config.model} --out {plan.out}"
    write_report(
        page,
        ReportData(
            title=f"longclip reproduce {plan.name}",
            summary=summary.strip(),
            tables=tuple(tables),
            command=command,
            facts=_facts(plan),
        ),
    )
    return markdown, page


def as_markdown(
    plan: Plan, results: Sequence[EvaluationResult], left_out: Mapping[str, str]
) -> str:
    """Return a table of measured and published numbers for each benchmark, in percent.

    A cell holds what was measured; in brackets what was published, and the difference. Published
    numbers stand only beside what was measured by the benchmark's protocol on all of its data.
    """
    lines = [f"# {plan.name}: {plan.experiment.title}", ""]
    lines += [f"- {name}: {value}" for name, value in _facts(plan).items()]
    lines += [f"- {remark}" for remark in _remarks(left_out)]
    published_as = {arm.name: arm.published.format(base=plan.base) for arm in plan.experiment.arms}
    for name in plan.benchmarks:
        found = [result for result in results if result.collection == name]
        if not found:
            continue
        benchmark, rows = find_benchmark(name), PUBLISHED.get(name, {})
        reason = reason_against(benchmark, found[0])
        measured = {r.name: percentages(benchmark, r) for r in found}
        metrics = list(next(iter(measured.values())))
        lines += ["", f"## {name}", ""]
        if reason:
            lines += [f"No published numbers beside these: {reason}.", ""]
        heads = [metric.replace("_to_", " → ") for metric in metrics]
        lines += [f"| model | {' | '.join(heads)} |", f"|---|{'---:|' * len(metrics)}"]
        for model, values in measured.items():
            known = None if reason else rows.get(published_as[model])
            cells = [_cell(values[metric], metric, known) for metric in metrics]
            lines.append(f"| {model} | {' | '.join(cells)} |")
        sources = dict.fromkeys(
            rows[row].source for row in published_as.values() if row in rows and not reason
        )
        lines += ["", *(f"Published: {source}." for source in sources)] if sources else []
    return "\n".join(lines) + "\n"


def _cell(measured: float, metric: str, published: PublishedNumbers | None) -> str:
    if published is None or metric not in published.metrics:
        return f"{measured:.1f}"
    known = published.metrics[metric]
    return f"{measured:.1f} ({known:.1f}, {measured - known:+.1f})"


def _remarks(left_out: Mapping[str, str]) -> list[str]:
    return [f"Not measured on {name}: {why.rstrip('.')}." for name, why in left_out.items()]


def _facts(plan: Plan) -> dict[str, str]:
    c = plan.config
    tried = {"steps": c.steps, "pairs": c.limit, "epochs": c.epochs, "batch": c.batch_size}
    changed = ", ".join(f"{name} {value:g}" for name, value in tried.items() if value)
    return {
        "model": f"{c.model}{f' ({plan.base})' if plan.base else ''}",
        "training data": plan.data,
        "changed from the recipes": changed or "nothing",
        "seed": str(c.seed),
        "versions": f"longclip {__version__}, torch {torch.__version__}",
    }
