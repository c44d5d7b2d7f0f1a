"""A self-contained HTML page of results: no script, no outside resource, one file to send."""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

from longclip._files import write_text
from longclip.evaluation.chart import Axes, Line, line_chart, swatch
from longclip.evaluation.probes.lengths import LengthCurve
from longclip.evaluation.probes.text_probes import TextProbes
from longclip.evaluation.report_confusion import Confusions, confusions_html
from longclip.evaluation.report_gallery import Query, gallery_html
from longclip.evaluation.report_probes import probes_html
from longclip.evaluation.report_tables import ResultsTable, tables_html
from longclip.spec import SPECIAL_TOKENS, STOCK_CONTEXT


@dataclass(frozen=True)
class ReportData:
    """All that a report says, in plain text. What is left empty has no section.

    `tables` come from `results_tables`. `curves` maps the name of a model, in the order of the
    tables' rows, to its recall by length, `probes` to what recall hides on the
    collection `probed`. `confusions` are those of
    classification tasks. `facts` are settings and provenance by name: seeds, pool
    sizes, times, versions. `queries_note` says which queries were chosen, and how.
    """

    title: str
    summary: str
    tables: tuple[ResultsTable, ...] = ()
    curves: Mapping[str, LengthCurve] = field(default_factory=dict)
    probes: Mapping[str, TextProbes] = field(default_factory=dict)
    probed: str = ""
    confusions: tuple[Confusions, ...] = ()
    queries: tuple[Query, ...] = ()
    queries_note: str = ""
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page; where there is an older one it stays until the new one is complete."""
    write_text(path, render_report(data))


def render_report(data: ReportData) -> str:
    """The page as HTML."""
    page = importlib.resources.files(__package__) / "report.html"
    return Template(page.read_text(encoding="utf-8")).substitute(
        title=escape(data.title),
        summary=escape(data.summary),
        results=tables_html(data.tables) if data.tables else "",
        curves=_curves_html(data.curves) if data.curves else "",
        probes=probes_html(data.probed, data.probes) if data.probes else "",
        confusions=confusions_html(data.confusions) if data.confusions else "",
        gallery=gallery_html(data.queries, data.queries_note) if data.queries else "",
        provenance=_provenance_html(data) if data.command or data.facts else "",
    )


def _curves_html(curves: Mapping[str, LengthCurve]) -> str:
    lines = [
        Line(name, tuple(zip(curve.tokens, (100 * v for v in curve.text_to_image), strict=True)))
        for name, curve in curves.items()
    ]
    first = next(iter(curves.values()))
    axes = Axes(
        "tokens kept of each description",
        f"text → image R@{first.k}",
        "%",
        mark=(STOCK_CONTEXT - SPECIAL_TOKENS, f"end of a {STOCK_CONTEXT}-token context"),
    )
    legend = "".join(
        f"<li>{swatch(index)}{escape(line.name)}</li>" for index, line in enumerate(lines)
    )
    return f"""<section>
<h2>How much of a description is used</h2>
<p class="note">Every description is cut to its first tokens before it is embedded. Where a curve
is level, the model gains nothing from what comes later; it ends where the model stops reading.
{first.images:,} images, {first.texts:,} descriptions.</p>
<div class="card chart">
<ul class="legend">{legend}</ul>
<div class="plot wide">{line_chart(lines, axes, width=920, height=400)}</div>
<div class="plot narrow">{line_chart(lines, axes, width=360, height=300)}</div>
{_numbers_html(curves)}
</div>
</section>"""


def _numbers_html(curves: Mapping[str, LengthCurve]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in curves)
    value = {
        name: dict(zip(curve.tokens, curve.text_to_image, strict=True))
        for name, curve in curves.items()
    }
    rows = ""
    for n in sorted({n for curve in curves.values() for n in curve.tokens}):
        cells = "".join(
            f"<td>{100 * value[name][n]:.1f}</td>" if n in value[name] else "<td>–</td>"
            for name in curves
        )
        rows += f'<tr><th scope="row">{n}</th>{cells}</tr>\n'
    first = next(iter(curves.values()))
    return f"""<details>
<summary>The numbers</summary>
<div class="scroll"><table>
<caption>text → image R@{first.k}, percent</caption>
<thead><tr><th scope="col">tokens kept</th>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table></div>
</details>"""


def _provenance_html(data: ReportData) -> str:
    command = f"<pre>{escape(data.command)}</pre>" if data.command else ""
    facts = "\n".join(
        f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in data.facts.items()
    )
    return f"""<section>
<h2>How this page was made</h2>
{command}
<dl>
{facts}
</dl>
</section>"""
