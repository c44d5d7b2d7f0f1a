"""Vehicles on the road of the middle row, and boats on its water.

Each faces right where `way` is 1 and left where it is -1.
"""

from collections.abc import Callable

from longclip.scenes.graph import Thing
from longclip.scenes.pictures.canvas import RGB, Canvas, darker, lighter
from longclip.scenes.vocabulary import COLOURS

_WHEELS = 88.5
_TYRE: RGB = (40, 40, 46)
_GLASS: RGB = (176, 212, 232)


def _wheel(canvas: Canvas, x: float, r: float) -> None:
    canvas.disc(x, _WHEELS - r, r, r, _TYRE)
    canvas.disc(x, _WHEELS - r, r * 0.45, r * 0.45, (200, 202, 208))


def draw_car(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a car, 36 units long."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, _WHEELS, 19, 1.6, 0.3)
    canvas.shape(
        [(x - way * 12, 79), (x - way * 8, 71.5), (x + way * 4, 71.5), (x + way * 10, 79)],
        darker(paint, 0.1),
    )
    canvas.shape(
        [(x - way * 9.6, 78.6), (x - way * 7, 73), (x - way * 2, 73), (x - way * 2, 78.6)], _GLASS
    )
    canvas.shape(
        [(x - way * 0.6, 78.6), (x - way * 0.6, 73), (x + way * 3.4, 73), (x + way * 7.4, 78.6)],
        _GLASS,
    )
    canvas.shape(
        [
            (x - way * 18, 79.5),
            (x - way * 16, 78.4),
            (x + way * 15, 78.4),
            (x + way * 18, 81),
            (x + way * 18, 86),
            (x - way * 18, 86),
        ],
        paint,
    )
    canvas.rect(x - 18, 84, x + 18, 86, darker(paint, 0.2))
    canvas.disc(x + way * 16.6, 81.4, 1.4, 1.2, (255, 244, 180))
    for dx in (-10, 10):
        _wheel(canvas, x + dx, 3.7)


def draw_van(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a van, 34 units long, higher than a car, with one window."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, _WHEELS, 18, 1.6, 0.3)
    canvas.shape(
        [
            (x - way * 17, 86),
            (x - way * 17, 68),
            (x + way * 9, 68),
            (x + way * 15, 77),
            (x + way * 17, 79),
            (x + way * 17, 86),
        ],
        paint,
    )
    canvas.shape(
        [(x + way * 5, 77), (x + way * 5, 70.2), (x + way * 8.4, 70.2), (x + way * 12.6, 77)],
        _GLASS,
    )
    canvas.rect(x - 17, 83.6, x + 17, 86, darker(paint, 0.2))
    canvas.rect(min(x, x - way * 14), 70.5, max(x, x - way * 14), 71.4, darker(paint, 0.15))
    canvas.rect(x + way * 2 - 0.3, 70, x + way * 2 + 0.3, 84, darker(paint, 0.25))
    for dx in (-10, 10):
        _wheel(canvas, x + dx, 3.6)


def draw_bus(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a bus, 44 units long, with a row of windows."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, _WHEELS, 23, 1.6, 0.3)
    canvas.rect(x - 22, 65.5, x + 22, 86, paint)
    canvas.rect(x - 22, 65.5, x + 22, 67, lighter(paint, 0.35))
    for i in range(5):
        canvas.rect(x - 19.8 + i * 8.1, 69, x - 13.3 + i * 8.1, 75.5, _GLASS)
    canvas.rect(x - 22, 83.5, x + 22, 86, darker(paint, 0.2))
    canvas.rect(x + way * 17 - 2.2, 69, x + way * 17 + 2.2, 84, darker(paint, 0.3))
    canvas.rect(x + way * 17 - 1.4, 70, x + way * 17 + 1.4, 83, _GLASS)
    for dx in (-13, 11):
        _wheel(canvas, x + dx * way, 3.6)


def draw_tram(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a tram, 44 units long, on rails, with a white band below its windows."""
    paint = COLOURS[thing.colour]
    canvas.rect(0, _WHEELS - 0.6, 128, _WHEELS + 0.6, (120, 120, 128))
    canvas.line([(x - 6, 66), (x, 62.5), (x + 6, 66)], _TYRE, 0.8)
    canvas.rect(x - 4, 61.8, x + 4, 62.8, _TYRE)
    canvas.shape(
        [(x - 20, 66), (x + 20, 66), (x + 23, 72), (x + 23, 87), (x - 23, 87), (x - 23, 72)], paint
    )
    canvas.rect(x - 20, 65, x + 20, 67.4, (226, 226, 224))
    for i in range(5):
        canvas.rect(x - 20.5 + i * 8.5, 70, x - 14 + i * 8.5, 77, _GLASS)
    canvas.rect(x - 23, 79.5, x + 23, 81, (240, 238, 226))
    canvas.rect(x - 17, 87, x + 17, _WHEELS, _TYRE)
    canvas.disc(x + way * 21.4, 83.5, 1.1, 1.1, (255, 244, 180))


def draw_truck(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a truck, 44 units long: cab in `colour`, load in `accent`."""
    cab, load = COLOURS[thing.colour], COLOURS[thing.accent]
    canvas.shadow(x, _WHEELS, 22, 1.6, 0.3)
    left, right = sorted((x - way * 22, x + way * 6))
    canvas.rect(left, 64.5, right, 84, load)
    canvas.rect(left, 64.5, right, 66, lighter(load, 0.35))
    for i in range(1, 4):
        canvas.rect(left + i * 7, 66, left + i * 7 + 0.6, 84, darker(load, 0.14))
    canvas.shape(
        [
            (x + way * 7.5, 86),
            (x + way * 7.5, 69),
            (x + way * 16, 69),
            (x + way * 21, 77),
            (x + way * 21, 86),
        ],
        cab,
    )
    canvas.shape(
        [(x + way * 10.5, 77), (x + way * 10.5, 71), (x + way * 15.4, 71), (x + way * 18.8, 77)],
        _GLASS,
    )
    canvas.rect(x - 22, 84, x + 21, 86, (70, 72, 82))
    for dx in (-16, -7, 14):
        _wheel(canvas, x + dx * way, 3.6)


def draw_tractor(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a tractor with a large wheel behind and a small one in front."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, _WHEELS, 17, 1.6, 0.3)
    canvas.rect(min(x - way * 11, x + way * 2), 64, max(x - way * 11, x + way * 2), 66.6, paint)
    canvas.shape(
        [(x - way * 9, 78), (x - way * 9, 66), (x + way * 0.6, 66), (x + way * 2, 78)], _GLASS
    )
    for dx in (-9, 1):
        canvas.line([(x + way * dx, 66), (x + way * dx, 78)], darker(paint, 0.2), 1.2)
    canvas.rect(min(x - way * 12, x + way * 16), 75.5, max(x - way * 12, x + way * 16), 83.5, paint)
    canvas.rect(x + way * 9 - 0.8, 68, x + way * 9 + 0.8, 76, _TYRE)
    canvas.disc(x - way * 8, _WHEELS - 7, 7.4, 7.4, _TYRE)
    canvas.disc(x - way * 8, _WHEELS - 7, 3.4, 3.4, (240, 208, 90))
    canvas.disc(x + way * 12, _WHEELS - 4, 4.4, 4.4, _TYRE)
    canvas.disc(x + way * 12, _WHEELS - 4, 1.9, 1.9, (240, 208, 90))


def _wake(canvas: Canvas, x: float, half: float) -> None:
    canvas.veil_disc(x, 88.6, half, 1.6, (10, 30, 60), 0.28)
    canvas.veil(
        [(x - half, 88), (x + half, 88), (x + half - 4, 89.2), (x - half + 4, 89.2)],
        (255, 255, 255),
        0.5,
    )


def _hull(canvas: Canvas, x: float, y: float, half: float, way: int, colour: RGB) -> None:
    canvas.shape(
        [
            (x - way * half, y),
            (x + way * (half + 3), y - 1),
            (x + way * (half - 3), 88.2),
            (x - way * (half - 4), 88.2),
        ],
        colour,
    )
    canvas.line(
        [(x - way * half, y + 0.6), (x + way * (half + 2.4), y - 0.2)], lighter(colour, 0.5), 1
    )


def draw_sailing_boat(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a sailing boat, 27 units high: hull in `colour`, two sails in `accent`."""
    sail = COLOURS[thing.accent]
    _wake(canvas, x, 17)
    canvas.rect(x - 0.6, 61, x + 0.6, 81, (112, 82, 58))
    canvas.shape([(x - way * 1.4, 61.5), (x - way * 1.4, 79), (x - way * 15, 79)], sail)
    canvas.shape([(x + way * 1.6, 64), (x + way * 1.6, 79), (x + way * 13, 79)], darker(sail, 0.12))
    _hull(canvas, x, 80.5, 15, way, COLOURS[thing.colour])


def draw_rowing_boat(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a low, open boat with two oars."""
    colour = COLOURS[thing.colour]
    _wake(canvas, x, 17)
    canvas.shape([(x - 18, 77.5), (x + 18, 77.5), (x + 12, 88.2), (x - 12, 88.2)], colour)
    canvas.shape([(x - 18, 77.5), (x + 18, 77.5), (x + 16, 80), (x - 16, 80)], darker(colour, 0.4))
    for dx in (-6, 5):
        canvas.rect(x + dx, 77, x + dx + 2, 81, (196, 156, 108))
    for side in (-1, 1):
        canvas.line([(x + side * 4, 76), (x + side * 21, 87)], (220, 190, 140), 1.2)
    canvas.rect(x - 13.5, 84, x + 13.5, 85.2, lighter(colour, 0.4))


def draw_steamboat(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a steamboat: hull in `colour`, a tall smoking funnel in `accent`."""
    funnel = COLOURS[thing.accent]
    _wake(canvas, x, 20)
    for i in range(3):
        canvas.veil_disc(
            x - way * (5 + i * 5), 64 - i * 1.5, 3 + i * 0.7, 2.4, (228, 228, 232), 0.7
        )
    canvas.rect(x - 3.8, 65, x + 3.8, 74, funnel)
    canvas.rect(x - 3.8, 65, x + 3.8, 66.6, darker(funnel, 0.4))
    canvas.rect(x - 13, 73, x + 13, 81, (244, 240, 228))
    for i in range(4):
        canvas.rect(x - 10.8 + i * 6, 75, x - 7.2 + i * 6, 78.5, (110, 150, 180))
    _hull(canvas, x, 80, 19, way, COLOURS[thing.colour])


VEHICLES: dict[str, Callable[[Canvas, float, Thing, int], None]] = {
    "car": draw_car,
    "van": draw_van,
    "bus": draw_bus,
    "tram": draw_tram,
    "truck": draw_truck,
    "tractor": draw_tractor,
    "sailing boat": draw_sailing_boat,
    "rowing boat": draw_rowing_boat,
    "steamboat": draw_steamboat,
}
