"""The small house and the trees of the back row."""

from collections.abc import Callable

from longclip.scenes.graph import House, Trees
from longclip.scenes.pictures.canvas import RGB, Canvas, darker, lighter
from longclip.scenes.vocabulary import COLOURS

FOOT = 68.0
GLASS_BY_DAY: RGB = (150, 196, 222)
GLASS_BY_NIGHT: RGB = (255, 236, 140)


def draw_house(canvas: Canvas, x: float, house: House, night: bool) -> None:
    """Draw a gabled house, 32 units wide, with a large door between two windows."""
    wall, roof, door = COLOURS[house.wall], COLOURS[house.roof], COLOURS[house.door]
    glass = GLASS_BY_NIGHT if night else GLASS_BY_DAY
    canvas.shadow(x, FOOT, 19, 1.8)
    canvas.rect(x + 7, 34, x + 11, 44, darker(wall, 0.3))
    canvas.rect(x - 15, 47, x + 15, FOOT, wall)
    canvas.rect(x - 15, 47, x + 15, 49, darker(wall, 0.2))
    canvas.rect(x + 11, 47, x + 15, FOOT, darker(wall, 0.1))
    canvas.shape([(x - 18, 48), (x - 10, 35), (x + 10, 35), (x + 18, 48)], roof)
    for y in (39, 43.5):
        canvas.rect(x - 14, y, x + 14, y + 0.7, darker(roof, 0.15))
    canvas.rect(x - 18, 47, x + 18, 48.6, darker(roof, 0.25))
    for side in (-1, 1):
        wx = x + side * 9.5
        canvas.rect(wx - 3.4, 52.5, wx + 3.4, 60.5, lighter(wall, 0.7))
        canvas.rect(wx - 2.6, 53.3, wx + 2.6, 59.7, glass)
        canvas.rect(wx - 0.4, 53.3, wx + 0.4, 59.7, lighter(wall, 0.7))
    canvas.rect(
        x - 4.6,
        52,
        x + 4.6,
        FOOT,
        lighter(wall, 0.75) if house.door != "white" else darker(wall, 0.3),
    )
    canvas.rect(x - 3.7, 53, x + 3.7, FOOT, door)
    canvas.disc(x + 2.2, 61, 0.6, 0.6, (240, 220, 140))


def draw_trees(canvas: Canvas, x: float, trees: Trees) -> None:
    """Draw one, two or three trees side by side."""
    spots = {1: (0.0,), 2: (-8.5, 8.5), 3: (-13.0, 0.0, 13.0)}[trees.count]
    size = {1: 1.25, 2: 1.05, 3: 0.92}[trees.count]
    paint = _TREES[trees.kind]
    canvas.shadow(x, FOOT, 9 + 4.5 * trees.count, 1.8, 0.22)
    for spot in spots:
        paint(canvas, x + spot, size)


def _trunk(canvas: Canvas, x: float, width: float, top: float, colour: RGB = (118, 82, 54)) -> None:
    canvas.rect(x - width, top, x + width * 0.2, FOOT, colour)
    canvas.rect(x, top, x + width, FOOT, darker(colour))


def draw_pine(canvas: Canvas, x: float, size: float) -> None:
    """Draw a pine of three tiers."""
    green = (40, 100, 76)
    _trunk(canvas, x, 1.4, FOOT - 8)
    for base, top, half in ((4, 16, 7.5), (11, 23, 6.2), (18, 31, 4.8)):
        y0, y1 = FOOT - base * size, FOOT - top * size
        canvas.shape([(x - half * size, y0), (x, y1), (x + half * size, y0)], green)
        canvas.shape([(x, y1), (x + half * size, y0), (x + 1, y0)], darker(green, 0.22))


def _crown(canvas: Canvas, x: float, size: float, leaf: RGB) -> None:
    puffs = ((-4.2, 14, 4.6), (4.2, 14, 4.6), (0, 19, 5.8), (0, 12.5, 4.4))
    for dx, dy, r in puffs:
        canvas.disc(
            x + dx * size + 0.7, FOOT - dy * size + 1, r * size, r * size, darker(leaf, 0.22)
        )
    for dx, dy, r in puffs:
        canvas.disc(
            x + dx * size - 0.4, FOOT - dy * size - 0.4, r * size * 0.88, r * size * 0.88, leaf
        )
    canvas.disc(x - 2 * size, FOOT - 20.5 * size, 2.6 * size, 2.4 * size, lighter(leaf, 0.2))


def draw_oak(canvas: Canvas, x: float, size: float) -> None:
    """Draw an oak with a round green crown."""
    _trunk(canvas, x, 1.7, FOOT - 12)
    _crown(canvas, x, size, (86, 152, 66))


def draw_cherry(canvas: Canvas, x: float, size: float) -> None:
    """Draw a cherry tree in pink blossom."""
    _trunk(canvas, x, 1.5, FOOT - 12, (104, 72, 66))
    _crown(canvas, x, size, (248, 178, 202))


def draw_maple(canvas: Canvas, x: float, size: float) -> None:
    """Draw a maple with orange leaves."""
    _trunk(canvas, x, 1.5, FOOT - 12)
    _crown(canvas, x, size, (232, 116, 44))


def draw_poplar(canvas: Canvas, x: float, size: float) -> None:
    """Draw a slender poplar."""
    green = (116, 164, 74)
    _trunk(canvas, x, 1.1, FOOT - 8)
    canvas.disc(x + 0.5, FOOT - 19 * size, 4.1 * size, 14.5 * size, darker(green, 0.2))
    canvas.disc(x - 0.4, FOOT - 19.3 * size, 3.4 * size, 14 * size, green)


def draw_palm(canvas: Canvas, x: float, size: float) -> None:
    """Draw a palm with six fronds."""
    top = FOOT - 23 * size
    bark = (160, 118, 74)
    canvas.shape([(x - 1.6, FOOT), (x + 1.6, FOOT), (x + 2.2, top), (x + 0.8, top)], bark)
    green = (62, 148, 84)
    for dx, dy in ((-8.5, 1.5), (8.5, 1.5), (-6.5, -4.5), (6.5, -4.5), (-6, 7), (6, 7)):
        tip = (x + 1.5 + dx * size, top + dy * size)
        bend = (x + 1.5 + dx * size * 0.5, top + dy * size * 0.5 - 3.2 * size)
        canvas.shape([(x + 1.5, top - 0.8), bend, tip, (bend[0], bend[1] + 2.6 * size)], green)
    canvas.disc(x + 1.5, top + 1, 1.7, 1.4, (120, 80, 50))


_TREES: dict[str, Callable[[Canvas, float, float], None]] = {
    "pine": draw_pine,
    "oak": draw_oak,
    "cherry": draw_cherry,
    "maple": draw_maple,
    "poplar": draw_poplar,
    "palm": draw_palm,
}
