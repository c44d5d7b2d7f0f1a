"""A line chart as inline SVG; its colours are the page's CSS variables --series-0, --series-1 …"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

_SERIES_COLOURS = 6
# Of the second six series and the third, which have the colours of the first.
_DASHES = ("", "7 4", "2 4")
# More signs on a line than this hide it; then only its end has one.
_MAX_DOTS = 25
# A curve that rises this many times as high above the lowest value as most do is cut off.
_MAX_RISE = 4.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 30, 40
_MIN_X_TICK_PIXELS, _MIN_Y_TICK_PIXELS = 62, 42
# More points than pixels only make the file large.
_MAX_POINTS = 500

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A line through `(x, y)` points; `series` is its colour, dashes and sign.

    `raw` is what it was smoothed from, drawn faintly. With `dots` every point has its sign, where
    there are few, else only the last one. `spreads` are how far values vary to either side, one
    for each point, drawn as upright lines. `ring` is a place to be marked, with what it is.
    """

    name: str
    points: Points
    series: int
    raw: Points = ()
    dots: bool = False
    spreads: Sequence[float] = ()
    ring: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` to pixels from `start` to `end`, with a tick every `step`."""

    low: float
    high: float
    step: float
    start: float
    end: float

    @classmethod
    def of(
        cls, low: float, high: float, start: float, end: float, *, tick: int, whole: bool
    ) -> "Scale":
        """A tick every 1, 2, 2.5 or 5 times a power of ten, as many as have `tick` pixels each.

        The ends are ticks where `whole`.
        """
        if high - low < 1e-9 * max(abs(high), abs(low), 1e-9):
            low, high = min(0.0, 2 * low), max(0.0, 2 * high) or float(low >= 0)
        most = max(1, int(abs(end - start)) // tick)
        power = 10.0 ** math.floor(math.log10((high - low) / most))
        step = next(f * power for f in (1, 2, 2.5, 5, 10) if (high - low) / (f * power) <= most)
        if whole:
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return cls(low, high, step, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [self.step * i for i in range(first, last + 1)]


@dataclass(frozen=True)
class _Places:
    """Values that stand equally far from each other, whatever lies between them, each a tick."""

    values: Sequence[float]
    start: float
    end: float

    @property
    def high(self) -> float:
        return self.values[-1]

    def __call__(self, value: float) -> float:
        """Return the pixel of one of the values; of others there is none."""
        each = (self.end - self.start) / len(self.values)
        return self.start + each * (self.values.index(value) + 0.5)

    def ticks(self) -> list[float]:
        return list(self.values)


def line_chart(
    title: str,
    x_label: str,
    curves: Sequence[Curve],
    *,
    width: int,
    height: int,
    percent: bool = False,
    from_zero: bool = False,
    mark: tuple[float, str] | None = None,
    choices: Sequence[float] = (),
    within: tuple[float, float] | None = None,
) -> Markup:
    """Return an `<svg>` of `width` x `height` CSS pixels.

    The horizontal axis begins at 0, the vertical one `from_zero` or near the lowest value.
    `percent` says that values are; `mark` is an x with a label, drawn as an upright line. Where all
    x are among a few `choices`, which ascend, these stand equally far apart. `within` is the lowest
    and the highest value of the vertical axis, where charts are to have the same one.

    Points must be finite. What is drawn faintly may leave the picture, which is cut there; so may a
    curve that is far higher than most, for one run must not press all others together. How high it
    gets is written beside the title.
    """
    ys = [*_reached(curves), *[0.0] * from_zero]
    right, bottom = width - _RIGHT, height - _BOTTOM
    x: Scale | _Places
    if choices:
        x = _Places(choices, _LEFT, right)
    else:
        longest = max(at for curve in curves for at, _ in curve.points)
        x = Scale.of(0.0, max(1.0, longest), _LEFT, right, tick=_MIN_X_TICK_PIXELS, whole=False)
    low, top = within or (min(ys), _highest(curves))
    y = Scale.of(
        low,
        max([top, *[0.0] * from_zero]),
        bottom,
        _TOP,
        tick=_MIN_Y_TICK_PIXELS,
        whole=True,
    )
    beyond = ""
    if max(ys) > top:
        says = f"\N{UPWARDS ARROW} up to {short_number(max(ys))}"
        beyond = f'<text x="{right}" y="14" text-anchor="end">{says}</text>'
    names = ", ".join(curve.name for curve in curves)
    lines = "\n".join(
        f'<polyline points="{_path(_envelope(curve.raw), x, y)}" '
        f'style="stroke:{colour(curve.series)};stroke-width:1;opacity:.35"/>'
        for curve in curves
        if curve.raw
    )
    lines += "\n".join(_line(curve, x, y, percent) for curve in curves)
    # The plot is an svg in the svg, for nothing is drawn outside of such a one.
    return Markup(f"""<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" \
role="img" aria-label="{escape(f"{title} against {x_label}: {names}")}">
{_grid(x, y)}
<text class="title" x="4" y="14">{escape(f"{title}, %" if percent else title)}</text>
{beyond}
<text x="{(_LEFT + right) / 2}" y="{height - 4}" text-anchor="middle">{escape(x_label)}</text>
{_mark(*mark, x, y) if mark is not None and mark[0] <= x.high else ""}
<svg x="0" y="{_TOP - 6}" width="{width}" height="{bottom - _TOP + 12}" \
viewBox="0 {_TOP - 6} {width} {bottom - _TOP + 12}">
{lines}
</svg>
</svg>""")


def marker(index: int, x: float, y: float, size: float = 4.5) -> Markup:
    """Return the sign of series `index` around (x, y), an SVG element."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"',
        _polygon(x, y, size * 0.9, (-1, -1), (1, -1), (1, 1), (-1, 1)),
        _polygon(x, y, size * 1.2, (0, -1), (1, 0.8), (-1, 0.8)),
        _polygon(x, y, size * 1.2, (0, -1), (1, 0), (0, 1), (-1, 0)),
    )
    return Markup(f'{shapes[index % len(shapes)]} style="fill:{colour(index)}"/>')


def swatch(index: int) -> Markup:
    """Return the sign of series `index` as a small picture to stand before its name."""
    sign = legend_sign(index, 0, 0)
    return Markup(f'<svg class="swatch" aria-hidden="true" viewBox="-7 -7 14 14">{sign}</svg>')


def legend_sign(index: int, x: float, y: float) -> Markup:
    """Return the sign of series `index`, on a piece of its line where that has dashes."""
    sign = marker(index, x, y)
    if not (dashes := _dashes(index)):
        return sign
    line = f'<polyline points="{x - 10:.1f},{y:.1f} {x + 10:.1f},{y:.1f}"'
    return Markup(f'{line} style="stroke:{colour(index)};stroke-width:2;{dashes}"/>{sign}')


def colour(index: int) -> str:
    """Return the CSS colour of series `index`."""
    return f"var(--series-{index % _SERIES_COLOURS})"


def _dashes(index: int, before: str = "") -> str:
    """Return the CSS of a series' dashes; empty where its line has none."""
    dashes = _DASHES[index // _SERIES_COLOURS % len(_DASHES)]
    return f"{before}stroke-dasharray:{dashes}" if dashes else ""


def _highest(curves: Sequence[Curve]) -> float:
    """Return the highest value to be shown: that of the highest curve not far above most."""
    tops = sorted(max(_reached([curve])) for curve in curves)
    low = min(_reached(curves))
    limit = low + _MAX_RISE * (tops[(len(tops) - 1) // 2] - low)
    return max((top for top in tops if top <= limit), default=tops[-1])


def _reached(curves: Sequence[Curve]) -> list[float]:
    """Return all values of curves, and how far they vary to either side."""
    return [
        value
        for curve in curves
        for (_, y), spread in _spread(curve)
        for value in (y - spread, y + spread)
    ]


def _spread(curve: Curve) -> Iterator[tuple[tuple[float, float], float]]:
    """Yield each point with its spread, which is 0 where a curve has none."""
    return zip(curve.points, curve.spreads or [0.0] * len(curve.points), strict=True)


def value_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the lowest and the highest value of curves, for `within` of the charts of all."""
    reached = _reached(curves)
    return min(reached), max(reached)


def smoothed(points: Points) -> list[tuple[float, float]]:
    """Return each value as the mean of a 25th of them all around it; below 50 points, unchanged.

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


def _polygon(x: float, y: float, size: float, *corners: tuple[float, float]) -> str:
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}"'


def _grid(x: Scale | _Places, y: Scale) -> str:
    parts = []
    for value in y.ticks():
        at = y(value)
        parts += [
            f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>',
            f'<text x="{x.start - 8}" y="{at + 4:.1f}" text-anchor="end">'
            f"{short_number(value)}</text>",
        ]
    parts += [
        f'<text x="{x(value):.1f}" y="{y.start + 18}" text-anchor="middle">'
        f"{short_number(value)}</text>"
        for value in x.ticks()
    ]
    return "\n".join(parts)


def _mark(value: float, label: str, x: Scale | _Places, y: Scale) -> str:
    at = x(value)
    # On the side with more room, beside the foot of the line, where curves of recall are not.
    anchor, place = ("end", at - 6) if at > (x.start + x.end) / 2 else ("start", at + 6)
    return (
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{y.end}" y2="{y.start}"/>'
        f'<text x="{place:.1f}" y="{y.start - 8}" text-anchor="{anchor}">{escape(label)}</text>'
    )


def _line(curve: Curve, x: Scale | _Places, y: Scale, percent: bool) -> str:
    stride = -(-len(curve.points) // _MAX_POINTS)
    path = _path([*curve.points[:-1:stride], curve.points[-1]], x, y)
    parts = [
        f"<g><title>{escape(curve.name)}</title>"
        f'<polyline points="{path}" '
        f'style="stroke:{colour(curve.series)}{_dashes(curve.series, ";")}"/></g>'
    ]
    parts += [
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(value - spread):.1f}" '
        f'y2="{y(value + spread):.1f}" style="stroke:{colour(curve.series)};stroke-width:1.25"/>'
        for (at, value), spread in _spread(curve)
        if spread
    ]
    dots = curve.dots and len(curve.points) <= _MAX_DOTS
    for at, value in curve.points if dots else curve.points[-1:]:
        shown = f"{value:.1f}%" if percent else f"{value:.4g}"
        parts.append(
            f"<g><title>{escape(f'{curve.name}: {shown} at {short_number(at)}')}</title>"
            f"{marker(curve.series, x(at), y(value))}</g>"
        )
    if curve.ring:
        at, value, words = curve.ring
        parts.append(
            f"<g><title>{escape(f'{curve.name}: {words}')}</title>"
            f'<circle class="ring" cx="{x(at):.1f}" cy="{y(value):.1f}" r="9" '
            f'style="stroke:{colour(curve.series)}"/></g>'
        )
    return "".join(parts)


def _path(points: Points, x: Scale | _Places, y: Scale) -> str:
    return " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)


def _envelope(points: Points) -> Points:
    """Return the lowest and the highest of every so many points, so that no spike is lost."""
    stride = -(-2 * len(points) // _MAX_POINTS)
    if stride < 3:
        return points
    kept = []
    for start in range(0, len(points), stride):
        part = points[start : start + stride]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def short_number(value: float) -> str:
    """Write large numbers as 20k and 1.5M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 10 or (sign != "k" and abs(value) >= size):
            return f"{value / size:.4g}{sign}"
    return f"{value:.4g}"
