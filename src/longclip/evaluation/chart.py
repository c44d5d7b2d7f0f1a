"""A line chart as inline SVG; its colours are the page's CSS variables --series-0, --series-1 …"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_SERIES_COLOURS = 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 22, 44


@dataclass(frozen=True)
class Line:
    """A named line through `(x, y)` points."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Axes:
    """Both axes start at 0. `mark` is an x value with a label, drawn as an upright line."""

    x_label: str
    y_label: str
    y_unit: str = ""
    mark: tuple[float, str] | None = None


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    x_max: float
    y_max: float

    def x(self, value: float) -> float:
        return _LEFT + value / self.x_max * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - value / self.y_max * (self.height - _TOP - _BOTTOM)


def line_chart(lines: Sequence[Line], axes: Axes, *, width: int, height: int) -> str:
    """An `<svg>` of that size in CSS pixels; `lines` are told apart by colour and by marker."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_step = _step(max(xs), (width - _LEFT - _RIGHT) // 64)
    y_step = _step(max(ys), (height - _TOP - _BOTTOM) // 50)
    frame = _Frame(width, height, max(xs) * 1.02, math.ceil(max(ys) / y_step) * y_step or y_step)
    names = ", ".join(line.name for line in lines)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(f"{axes.y_label} against {axes.x_label}: {names}")}">',
        *_grid(frame, axes, x_step, y_step),
        *_mark(frame, axes),
        *(_line(frame, axes, index, line) for index, line in enumerate(lines)),
        "</svg>",
    ]
    return "\n".join(parts)


def marker(index: int, x: float, y: float, size: float = 4.5) -> str:
    """The sign of series `index` around (x, y), an SVG element without attributes of its own."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"',
        _polygon(x, y, size * 0.9, (-1, -1), (1, -1), (1, 1), (-1, 1)),
        _polygon(x, y, size * 1.2, (0, -1), (1, 0.8), (-1, 0.8)),
        _polygon(x, y, size * 1.2, (0, -1), (1, 0), (0, 1), (-1, 0)),
    )
    return f'{shapes[index % len(shapes)]} style="fill:{colour(index)}"/>'


def swatch(index: int) -> str:
    """The sign of series `index` as a small picture to stand before its name."""
    sign = marker(index, 0, 0)
    return f'<svg class="swatch" aria-hidden="true" viewBox="-7 -7 14 14">{sign}</svg>'


def colour(index: int) -> str:
    """The CSS colour of series `index`."""
    return f"var(--series-{index % _SERIES_COLOURS})"


def _polygon(x: float, y: float, size: float, *corners: tuple[float, float]) -> str:
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}"'


def _grid(frame: _Frame, axes: Axes, x_step: float, y_step: float) -> list[str]:
    bottom, right = frame.y(0), frame.width - _RIGHT
    parts = []
    for value in _ticks(frame.y_max, y_step):
        y = frame.y(value)
        parts += [
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>',
        ]
    for value in _ticks(frame.x_max, x_step):
        x = frame.x(value)
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{value:g}</text>'
        )
    middle = (_LEFT + right) / 2
    unit = f", {axes.y_unit}" if axes.y_unit else ""
    return [
        *parts,
        f'<text x="{middle:.1f}" y="{frame.height - 6}" text-anchor="middle">'
        f"{escape(axes.x_label)}</text>",
        f'<text x="4" y="11">{escape(axes.y_label + unit)}</text>',
    ]


def _mark(frame: _Frame, axes: Axes) -> list[str]:
    if axes.mark is None or axes.mark[0] > frame.x_max:
        return []
    x, label = frame.x(axes.mark[0]), axes.mark[1]
    # On the side with more room, beside the foot of the line, where curves of recall are not.
    left = x > frame.width / 2
    anchor, place = ("end", x - 6) if left else ("start", x + 6)
    return [
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{frame.y(0):.1f}"/>',
        f'<text x="{place:.1f}" y="{frame.y(0) - 8:.1f}" text-anchor="{anchor}">'
        f"{escape(label)}</text>",
    ]


def _line(frame: _Frame, axes: Axes, index: int, line: Line) -> str:
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
    dots = "".join(
        f"<g><title>{escape(f'{line.name}: {y:.1f}{axes.y_unit} at {x:g}')}</title>"
        f"{marker(index, frame.x(x), frame.y(y))}</g>"
        for x, y in line.points
    )
    return f'<polyline points="{path}" style="stroke:{colour(index)}"/>{dots}'


def _step(largest: float, most: int) -> float:
    """The distance, 1, 2, 2.5 or 5 times a power of ten, of at most `most` ticks."""
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest / max(most, 1)))
    steps = (factor * power for factor in (1, 2, 2.5, 5, 10))
    return next(step for step in steps if largest / step <= max(most, 1))


def _ticks(largest: float, step: float) -> list[float]:
    return [step * i for i in range(int(largest / step + 1e-9) + 1)]
