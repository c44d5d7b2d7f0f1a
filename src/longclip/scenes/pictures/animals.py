"""Animals in the water or on the field of the middle row, and the dog in front.

Each faces right where `way` is 1 and left where it is -1.
"""

from collections.abc import Callable

from longclip.scenes.graph import Thing
from longclip.scenes.pictures.canvas import RGB, Canvas, darker
from longclip.scenes.vocabulary import COLOURS

_SPOTS = {1: (0.0,), 2: (-10.0, 10.0), 3: (-14.0, 0.0, 14.0)}
_ORANGE: RGB = (240, 150, 60)


def draw_swans(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw white swans with long raised necks."""
    white = COLOURS["white"]
    for dx in _SPOTS[thing.count]:
        sx = x + dx
        canvas.veil_disc(sx, 87, 7, 1.2, (255, 255, 255), 0.4)
        canvas.disc(sx, 83.5, 6.6, 3.6, white)
        canvas.shape(
            [(sx - way * 8.6, 79), (sx - way * 1, 81), (sx - way * 3, 85)], (228, 230, 236)
        )
        canvas.line([(sx + way * 4.6, 83), (sx + way * 6.4, 79), (sx + way * 4.6, 75.4)], white, 2)
        canvas.disc(sx + way * 5, 74.6, 1.9, 1.7, white)
        canvas.shape([(sx + way * 6.4, 74), (sx + way * 9.4, 75.4), (sx + way * 6.4, 76)], _ORANGE)


def draw_ducks(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw brown ducks with green heads."""
    brown = (150, 110, 76)
    for dx in _SPOTS[thing.count]:
        sx = x + dx
        canvas.veil_disc(sx, 87, 6.4, 1.1, (255, 255, 255), 0.4)
        canvas.disc(sx, 84, 5.8, 3.1, brown)
        canvas.shape(
            [(sx - way * 7.4, 80.6), (sx - way * 2, 82.6), (sx - way * 4, 85.4)],
            darker(brown, 0.25),
        )
        canvas.rect(
            min(sx + way * 3, sx + way * 5.4),
            79,
            max(sx + way * 3, sx + way * 5.4),
            83,
            (40, 116, 76),
        )
        canvas.disc(sx + way * 4.4, 78.6, 2.5, 2.3, (40, 116, 76))
        canvas.shape(
            [(sx + way * 6.4, 78), (sx + way * 9.6, 79.6), (sx + way * 6.2, 80)], (246, 200, 70)
        )


def _legs(
    canvas: Canvas, x: float, spots: tuple[float, ...], top: float, colour: RGB, width: float
) -> None:
    for dx in spots:
        canvas.rect(x + dx - width / 2, top, x + dx + width / 2, 89, colour)


def draw_cows(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw cows: heavy bodies with patches and horns."""
    fur = COLOURS[thing.colour]
    patch = (70, 62, 60) if thing.colour == "white" else (240, 234, 222)
    for dx in _SPOTS[thing.count]:
        sx = x + dx * 1.15
        canvas.shadow(sx, 89, 11, 1.4)
        _legs(canvas, sx, (-6, -3, 3.5, 6.4), 82, darker(fur, 0.25), 1.8)
        canvas.rect(sx - 8.4, 74.5, sx + 8, 84, fur)
        canvas.disc(sx - way * 2, 78, 3, 2.4, patch)
        canvas.disc(sx + way * 4, 81, 1.8, 1.6, patch)
        hx = sx + way * 10
        canvas.shape([(hx - 3.2, 71), (hx + 3.2, 71), (hx + 2.4, 79), (hx - 2.4, 79)], fur)
        canvas.rect(hx - 2.4, 76.6, hx + 2.4, 79, (240, 190, 180))
        for side in (-1, 1):
            canvas.line([(hx + side * 2.4, 71), (hx + side * 4, 68.6)], (240, 230, 200), 1)


def draw_sheep(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw sheep: woolly white bodies, dark faces."""
    wool, face = (250, 248, 240), (66, 58, 60)
    for dx in _SPOTS[thing.count]:
        sx = x + dx
        _legs(canvas, sx, (-3, 3), 84, face, 1.4)
        for px, py, r in ((-3.4, 81, 3.4), (0, 79.4, 3.8), (3.4, 81, 3.4), (0, 83, 3.6)):
            canvas.disc(sx + px, py, r, r, wool)
        canvas.disc(sx + way * 6, 79.6, 2.4, 2.9, face)
        canvas.disc(sx + way * 5, 77.2, 1.7, 1.3, wool)


def draw_horse(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a tall horse with a mane and a tail."""
    fur = COLOURS[thing.colour]
    mane = (60, 46, 42) if thing.colour != "black" else (110, 104, 110)
    canvas.shadow(x, 89, 13, 1.5)
    _legs(canvas, x, (-8, -5, 5, 8), 80, darker(fur, 0.2), 1.9)
    canvas.disc(x, 77, 10.5, 5, fur)
    canvas.shape(
        [(x + way * 5, 76), (x + way * 10, 64), (x + way * 13.5, 66), (x + way * 10.4, 79)], fur
    )
    canvas.shape(
        [(x + way * 9, 63), (x + way * 18, 68.4), (x + way * 16.6, 71), (x + way * 10, 68)], fur
    )
    canvas.line([(x + way * 9, 63.4), (x + way * 5, 73)], mane, 2)
    canvas.line([(x - way * 10, 75), (x - way * 13, 79), (x - way * 13, 85)], mane, 2)


def draw_dog(canvas: Canvas, x: float, thing: Thing, way: int) -> None:
    """Draw a dog, 26 units long."""
    fur = COLOURS[thing.colour]
    canvas.shadow(x, 125, 13, 1.6)
    for dx in (-8, -5, 4, 7):
        canvas.rect(x + dx - 1.2, 116, x + dx + 1.2, 125, darker(fur, 0.2))
    canvas.disc(x - way * 0.5, 114, 10, 4.8, fur)
    canvas.line([(x - way * 9, 112.5), (x - way * 14, 106)], fur, 2)
    hx = x + way * 10
    canvas.disc(hx, 107.5, 5.2, 4.8, fur)
    canvas.disc(hx + way * 4.6, 109, 3.2, 2.5, fur)
    canvas.disc(
        hx + way * 7.2, 108.2, 1.1, 1, (30, 26, 28) if thing.colour != "black" else (150, 140, 140)
    )
    canvas.disc(hx - way * 3, 107.5, 2, 4, darker(fur, 0.3))
    canvas.disc(
        hx + way * 1.8,
        106.3,
        0.8,
        0.8,
        (30, 26, 28) if thing.colour != "black" else (230, 226, 220),
    )
    canvas.rect(x + way * 6.6 - 1.2, 110, x + way * 6.6 + 1.2, 112.4, (206, 62, 58))


ANIMALS: dict[str, Callable[[Canvas, float, Thing, int], None]] = {
    "swan": draw_swans,
    "duck": draw_ducks,
    "cow": draw_cows,
    "sheep": draw_sheep,
    "horse": draw_horse,
    "dog": draw_dog,
}
