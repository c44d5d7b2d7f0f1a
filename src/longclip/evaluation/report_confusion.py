"""What a model takes for what: the confusion of a classification task, for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import torch

from longclip.evaluation.chart import swatch

_LARGEST_MATRIX = 24
_PAIRS = 12


@dataclass(frozen=True, eq=False)
class Confusions:
    """One task: `matrices` holds int64 [C, C] by model, target by prediction."""

    title: str
    classes: tuple[str, ...]
    matrices: Mapping[str, torch.Tensor]


def confusions_html(confusions: Sequence[Confusions]) -> str:
    """The section: of each task and model the matrix, or, where the classes are too many for
    one, the commonest mistakes.
    """
    parts = "\n".join(map(_task_html, confusions))
    return f"""<section>
<h2>What is taken for what</h2>
{parts}
</section>"""


def _task_html(task: Confusions) -> str:
    draw = _matrix_html if len(task.classes) <= _LARGEST_MATRIX else _pairs_html
    cards = "\n".join(
        f"""<div class="card scroll" role="region" tabindex="0" aria-label="{escape(model)}">
{draw(f"{task.title}: {model}", task.classes, confusion, index)}
</div>"""
        for index, (model, confusion) in enumerate(task.matrices.items())
    )
    return f'<div class="confusions">\n{cards}\n</div>'


def _matrix_html(title: str, classes: Sequence[str], confusion: torch.Tensor, index: int) -> str:
    shares = confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    heads = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in classes)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{_shares_html(row, target)}</tr>'
        for target, (name, row) in enumerate(zip(classes, shares.tolist(), strict=True))
    )
    return f"""<table class="confusion">
<caption>{swatch(index)}{escape(title)} <small>percent of each class (row) that was taken for each
class (column)</small></caption>
<thead><tr><td></td>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _shares_html(row: Sequence[float], target: int) -> str:
    return "".join(
        f'<td class="{"hit" if column == target else "miss"}" style="--share:{share:.2f}">'
        f"{f'{100 * share:.0f}' if share >= 0.005 else ''}</td>"
        for column, share in enumerate(row)
    )


def _pairs_html(title: str, classes: Sequence[str], confusion: torch.Tensor, index: int) -> str:
    wrong = confusion.clone().fill_diagonal_(0).flatten()
    counts, places = wrong.topk(min(_PAIRS, len(wrong)))
    rows = "\n".join(
        f'<tr><th scope="row">{escape(classes[place // len(classes)])}</th>'
        f"<td>{escape(classes[place % len(classes)])}</td><td>{count}</td></tr>"
        for count, place in zip(counts.tolist(), places.tolist(), strict=True)
        if count
    )
    return f"""<table>
<caption>{swatch(index)}{escape(title)} <small>the commonest mistakes among {len(classes):,}
classes</small></caption>
<thead><tr><th scope="col">is</th><th scope="col">taken for</th>
<th scope="col">images</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""
