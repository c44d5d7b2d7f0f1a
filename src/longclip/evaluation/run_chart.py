"""Curves over the steps of training as inline SVG, in the colours and signs of `chart`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from longclip.evaluation.chart import colour, marker

WIDTH, HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 30, 40
# More points than pixels only make the file large.
_MOST_POINTS = 500

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A line; `series` is its colour and sign, `raw` what it was smoothed from, drawn faintly.

    With `dots` every point has its sign, else only the last one.
    """

    name: str
    points: Points
    series: int
    raw: Points = ()
    dots: bool = False


@dataclass(frozen=True)
class _Scale:
    """Values from `low` to `high` to pixels from `start` to `end`, with a tick every `step`."""

    low: float
    high: float
    step: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [self.step * i for i in range(first, last + 1)]


def curves_chart(title: str, x_label: str, curves: Sequence[Curve], *, unit: str = "") -> str:
    """An `<svg>` of WIDTH x HEIGHT pixels; its vertical axis need not start at 0.

    Points must be finite. What is drawn faintly may leave the picture, which is cut there.
    """
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    x = _scale(0.0, max(1.0, *xs), 6, _LEFT, WIDTH - _RIGHT, whole_ticks=False)
    y = _scale(min(ys), max(ys), 5, HEIGHT - _BOTTOM, _TOP)
    names = ", ".join(curve.name for curve in curves)
    lines = "\n".join(_faint(curve, x, y) for curve in curves if curve.raw)
    lines += "\n".join(_line(curve, x, y, unit) for curve in curves)
    said = f"{title}, {unit}" if unit else title
    # The plot is an svg in the svg, for nothing is drawn outside of such a one.
    return f"""<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" \
aria-label="{escape(f"{title} against {x_label}: {names}")}">
{_grid(x, y)}
<text class="title" x="4" y="14">{escape(said)}</text>
<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}\
</text>
<svg x="0" y="{_TOP - 6}" width="{WIDTH}" height="{HEIGHT - _TOP - _BOTTOM + 12}" \
viewBox="0 {_TOP - 6} {WIDTH} {HEIGHT - _TOP - _BOTTOM + 12}">
{lines}
</svg>
</svg>"""


def smoothed(points: Points) -> list[tuple[float, float]]:
    """Each value as the mean of a 25th of them all around it; below 50 points it is what it is.

    Unlike an exponential mean it does not lag behind. At the start, where losses fall fast, the
    mean is of fewer values, at the end, where they are level and noisy, of those before.
    """
    n, half = len(points), len(points) // 50
    if not half:
        return list(points)
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    means = []
    for i, (x, _) in enumerate(points):
        back = min(half, i)
        start, end = i - back, min(i + back + 1, n)
        means.append((x, (sums[end] - sums[start]) / (end - start)))
    return means


def _scale(
    low: float, high: float, most: int, start: float, end: float, *, whole_ticks: bool = True
) -> _Scale:
    if high - low < 1e-9 * max(abs(high), abs(low), 1e-9):
        low, high = min(0.0, 2 * low), max(0.0, 2 * high) or float(low >= 0)
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if (high - low) / (f * power) <= most)
    if whole_ticks:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return _Scale(low, high, step, start, end)


def _grid(x: _Scale, y: _Scale) -> str:
    parts = []
    for value in y.ticks():
        at = y(value)
        parts += [
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>',
            f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_short(value)}</text>',
        ]
    parts += [
        f'<text x="{x(value):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
        f"{_short(value)}</text>"
        for value in x.ticks()
    ]
    return "\n".join(parts)


def _faint(curve: Curve, x: _Scale, y: _Scale) -> str:
    style = f"stroke:{colour(curve.series)};stroke-width:1;opacity:.35"
    return f'<polyline points="{_path(_envelope(curve.raw), x, y)}" style="{style}"/>'


def _line(curve: Curve, x: _Scale, y: _Scale, unit: str) -> str:
    path = _path(_thinned(curve.points), x, y)
    signs = curve.points if curve.dots else curve.points[-1:]
    dots = "".join(
        f"<g><title>{escape(f'{curve.name}: {value:.4g}{unit} at {_short(at)}')}</title>"
        f"{marker(curve.series, x(at), y(value))}</g>"
        for at, value in signs
    )
    return (
        f"<g><title>{escape(curve.name)}</title>"
        f'<polyline points="{path}" style="stroke:{colour(curve.series)}"/></g>{dots}'
    )


def _path(points: Points, x: _Scale, y: _Scale) -> str:
    return " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)


def _thinned(points: Points) -> Points:
    """Every so many of the points, and the last."""
    stride = -(-len(points) // _MOST_POINTS)
    return [*points[:-1:stride], points[-1]]


def _envelope(points: Points) -> Points:
    """The lowest and the highest of every so many points, so that no spike is lost."""
    stride = -(-2 * len(points) // _MOST_POINTS)
    if stride < 3:
        return points
    kept = []
    for start in range(0, len(points), stride):
        part = points[start : start + stride]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def _short(value: float) -> str:
    """Large numbers as 20k and 1.5M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 10 or (sign != "k" and abs(value) >= size):
            return f"{value / size:.4g}{sign}"
    return f"{value:.4g}"
