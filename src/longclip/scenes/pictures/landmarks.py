"""Landmarks of the back row, each up to 40 units wide and about 58 high."""

import math
from collections.abc import Callable

from longclip.scenes.graph import Landmark
from longclip.scenes.pictures.buildings import FOOT, GLASS_BY_DAY, GLASS_BY_NIGHT
from longclip.scenes.pictures.canvas import RGB, Canvas, darker, lighter
from longclip.scenes.vocabulary import COLOURS

_DARK: RGB = (66, 54, 56)


def draw_landmark(canvas: Canvas, x: float, landmark: Landmark, night: bool) -> None:
    """Draw the landmark with its foot on the back row's ground line, centred on x."""
    canvas.shadow(x, FOOT, 21, 2)
    glass = GLASS_BY_NIGHT if night else GLASS_BY_DAY
    _LANDMARKS[landmark.kind](canvas, x, COLOURS[landmark.wall], COLOURS[landmark.roof], glass)


def _block(canvas: Canvas, x0: float, y0: float, x1: float, colour: RGB) -> None:
    canvas.rect(x0, y0, x1, FOOT, colour)
    canvas.rect(x1 - (x1 - x0) * 0.22, y0, x1, FOOT, darker(colour, 0.12))


def _spire(canvas: Canvas, x: float, half: float, foot: float, top: float, colour: RGB) -> None:
    canvas.shape([(x - half, foot), (x, top), (x + half, foot)], colour)
    canvas.shape([(x, top), (x + half, foot), (x + half * 0.25, foot)], darker(colour, 0.2))


def _arch(canvas: Canvas, x: float, y: float, half: float, height: float, colour: RGB) -> None:
    canvas.disc(x, y, half, half, colour)
    canvas.rect(x - half, y, x + half, y + height, colour)


def draw_church(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a church: a nave, and a tower with a spire and a cross."""
    _block(canvas, x - 8, 47, x + 20, wall)
    canvas.shape([(x - 8, 48), (x - 4, 36), (x + 16, 36), (x + 22, 48)], roof)
    canvas.rect(x - 8, 46.6, x + 22, 48.2, darker(roof, 0.25))
    for dx in (4, 11):
        _arch(canvas, x + dx + 1, 54, 2.1, 7, glass)
    _block(canvas, x - 20, 30, x - 6, wall)
    _spire(canvas, x - 13, 8.5, 31, 8, roof)
    canvas.rect(x - 13.5, 2, x - 12.5, 9, (236, 206, 110))
    canvas.rect(x - 15.2, 4, x - 10.8, 5, (236, 206, 110))
    _arch(canvas, x - 13, 38, 2.2, 5, glass)
    _arch(canvas, x - 13, 58, 3.2, 10, _DARK)


def draw_clock_tower(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a clock tower with a pointed roof."""
    _block(canvas, x - 8.5, 24, x + 8.5, wall)
    canvas.rect(x - 10.5, 22.5, x + 10.5, 25.5, lighter(wall, 0.4))
    canvas.rect(x - 10.5, 45, x + 10.5, 47, lighter(wall, 0.4))
    _spire(canvas, x, 11.5, 23, 3, roof)
    canvas.disc(x, 35, 7.4, 7.4, _DARK)
    canvas.disc(x, 35, 6.3, 6.3, (255, 252, 236))
    canvas.line([(x, 35), (x, 30.3)], _DARK, 1)
    canvas.line([(x, 35), (x + 3.4, 36.8)], _DARK, 1)
    for y in (50, 57):
        canvas.rect(x - 5, y, x - 2, y + 4.5, glass)
        canvas.rect(x + 2, y, x + 5, y + 4.5, glass)
    canvas.rect(x - 2.5, 62, x + 2.5, FOOT, _DARK)


def draw_windmill(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a windmill with four sails."""
    canvas.shape([(x - 12, FOOT), (x - 7.5, 32), (x + 7.5, 32), (x + 12, FOOT)], wall)
    canvas.shape([(x + 4, 32), (x + 7.5, 32), (x + 12, FOOT), (x + 7, FOOT)], darker(wall, 0.12))
    canvas.pie(x, 33, 9, 12, 180, 360, roof)
    canvas.rect(x - 2, 42, x + 2, 47, glass)
    _arch(canvas, x, 60, 3, 8, _DARK)
    for angle in (0.5, 0.5 + math.pi / 2, 0.5 + math.pi, 0.5 + 1.5 * math.pi):
        c, s = math.cos(angle), math.sin(angle)
        sail = [(4, 0), (22, 0), (22, 4.5), (4, 4.5)]
        canvas.shape([(x + a * c - b * s, 29 + a * s + b * c) for a, b in sail], (250, 244, 226))
        canvas.line([(x, 29), (x + 22 * c, 29 + 22 * s)], (112, 80, 58), 1.2)
        for a in (10, 16):
            canvas.line(
                [(x + a * c, 29 + a * s), (x + a * c - 4.5 * s, 29 + a * s + 4.5 * c)],
                (160, 130, 100),
                0.6,
            )
    canvas.disc(x, 29, 1.8, 1.8, _DARK)


def draw_lighthouse(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a lighthouse with three stripes, and at night its beams."""

    def half(y: float) -> float:
        return 5.5 + (y - 22) * 0.1

    canvas.shape(
        [(x - half(FOOT), FOOT), (x - half(22), 22), (x + half(22), 22), (x + half(FOOT), FOOT)],
        wall,
    )
    for y in (27, 41, 55):
        canvas.shape(
            [
                (x - half(y), y),
                (x + half(y), y),
                (x + half(y + 7), y + 7),
                (x - half(y + 7), y + 7),
            ],
            roof,
        )
    canvas.veil(
        [(x + 2.5, 22), (x + half(22), 22), (x + half(FOOT), FOOT), (x + 4, FOOT)],
        (30, 26, 60),
        0.14,
    )
    canvas.rect(x - 8, 20.5, x + 8, 22.8, _DARK)
    canvas.rect(x - 4.5, 12.5, x + 4.5, 20.5, (255, 240, 150))
    for dx in (-4.5, -0.5, 3.5):
        canvas.rect(x + dx, 12.5, x + dx + 1, 20.5, _DARK)
    canvas.pie(x, 13, 6.5, 8, 180, 360, _DARK)
    if glass == GLASS_BY_NIGHT:
        for way in (-1, 1):
            canvas.veil(
                [(x + way * 4, 16), (x + way * 44, 6), (x + way * 44, 26)], (255, 244, 170), 0.28
            )
    canvas.rect(x - 2.5, 62, x + 2.5, FOOT, _DARK)


def draw_castle(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a castle: a gate between two towers, and a keep with a flag."""
    _block(canvas, x - 13, 44, x + 13, wall)
    for dx in range(-12, 12, 6):
        canvas.rect(x + dx, 40.5, x + dx + 3.4, 45, wall)
    for tower_x in (x - 15.5, x + 15.5):
        _block(canvas, tower_x - 5, 32, tower_x + 5, wall)
        _spire(canvas, tower_x, 7, 33, 16, roof)
        _arch(canvas, tower_x, 40, 1.5, 4, glass)
    canvas.rect(x - 4.5, 30, x + 4.5, 46, darker(wall, 0.08))
    _spire(canvas, x, 6.5, 31, 12, roof)
    canvas.rect(x - 0.4, 5, x + 0.4, 13, _DARK)
    canvas.shape([(x, 5), (x + 6, 7), (x, 9)], roof)
    _arch(canvas, x, 37, 1.5, 3, glass)
    _arch(canvas, x, 57, 4.6, 11, _DARK)
    for dx in (-2, 0, 2):
        canvas.rect(x + dx - 0.3, 54, x + dx + 0.3, FOOT, (120, 104, 96))


def draw_ferris_wheel(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a ferris wheel with ten cabins."""
    y, r = 33.0, 20.5
    for way in (-1, 1):
        canvas.line([(x, y), (x + way * 13, FOOT)], darker(wall, 0.15), 2)
    for i in range(12):
        a = i * math.pi / 6
        canvas.line([(x, y), (x + r * math.cos(a), y + r * math.sin(a))], wall, 0.7)
    canvas.ring(x, y, r + 0.9, wall, 2)
    canvas.ring(x, y, r * 0.6, wall, 1)
    canvas.disc(x, y, 3, 3, wall)
    for i in range(10):
        a = (i + 0.5) * math.pi / 5
        gx, gy = x + r * math.cos(a), y + r * math.sin(a)
        canvas.disc(gx, gy + 1, 3.3, 3.3, roof)
        canvas.rect(gx - 2, gy - 0.6, gx + 2, gy + 0.8, glass)
    canvas.rect(x - 15, FOOT - 2.5, x + 15, FOOT, darker(wall, 0.3))


def draw_factory(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a factory with two smoking chimneys."""
    smoke = (222, 222, 228)
    for dx, top in ((6, 14), (15, 20)):
        for step in range(4):
            canvas.veil_disc(
                x + dx + 2 + step * 3.4,
                top - 4 - step * 2.6,
                2.6 + step * 0.9,
                2.2 + step * 0.7,
                smoke,
                0.6,
            )
        _block(canvas, x + dx - 3, top, x + dx + 3, roof)
        canvas.rect(x + dx - 3.7, top, x + dx + 3.7, top + 2.6, darker(roof, 0.3))
    _block(canvas, x - 20, 46, x + 20, wall)
    for dx in (-20, -7, 6):
        canvas.shape([(x + dx, 47), (x + dx, 38), (x + dx + 13.5, 47)], darker(wall, 0.18))
        canvas.shape([(x + dx + 1.4, 46), (x + dx + 1.4, 41), (x + dx + 8, 46)], glass)
    for dx in (-17, -9, -1, 7):
        canvas.rect(x + dx, 51, x + dx + 5, 56.5, glass)
    canvas.rect(x - 17, 60, x - 9, FOOT, _DARK)
    canvas.rect(x - 3, 60, x + 16, 64, glass)


def draw_pagoda(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a pagoda of three storeys."""
    for half, top in ((11.5, 54), (9.5, 41), (7.5, 28)):
        canvas.rect(x - half, top, x + half, top + 14, wall)
        canvas.rect(x + half * 0.55, top, x + half, top + 14, darker(wall, 0.12))
        canvas.rect(x - half * 0.62, top + 5.5, x - half * 0.2, top + 10, glass)
        canvas.rect(x + half * 0.2, top + 5.5, x + half * 0.62, top + 10, glass)
        wide = half + 8
        canvas.shape(
            [
                (x - wide, top + 1.5),
                (x - half - 2, top + 1.2),
                (x - half * 0.7, top - 5),
                (x + half * 0.7, top - 5),
                (x + half + 2, top + 1.2),
                (x + wide, top + 1.5),
                (x + half + 1, top + 4.2),
                (x - half - 1, top + 4.2),
            ],
            roof,
        )
        canvas.rect(x - half - 1, top + 2.8, x + half + 1, top + 4.2, darker(roof, 0.25))
    _spire(canvas, x, 6, 24, 16, roof)
    canvas.rect(x - 0.6, 8, x + 0.6, 18, (226, 190, 90))
    canvas.rect(x - 2.6, 60, x + 2.6, FOOT, _DARK)


def draw_water_tower(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw a water tower on two legs."""
    steel = (112, 116, 128)
    for dx in (-11, 11):
        canvas.line([(x + dx * 0.75, 38), (x + dx, FOOT)], steel, 2)
    canvas.line([(x - 9, 42), (x + 10.5, 60)], steel, 0.9)
    canvas.line([(x + 9, 42), (x - 10.5, 60)], steel, 0.9)
    canvas.rect(x - 1.6, 38, x + 1.6, FOOT, darker(steel))
    canvas.pie(x, 38, 15, 7, 0, 180, darker(wall, 0.2))
    canvas.rect(x - 15, 19, x + 15, 38.5, wall)
    canvas.rect(x + 8, 19, x + 15, 38.5, darker(wall, 0.12))
    for y in (25, 32):
        canvas.rect(x - 15, y, x + 15, y + 0.8, darker(wall, 0.25))
    _spire(canvas, x, 17.5, 20, 8, roof)


def draw_observatory(canvas: Canvas, x: float, wall: RGB, roof: RGB, glass: RGB) -> None:
    """Draw an observatory with an open dome and its telescope."""
    _block(canvas, x - 18, 46, x + 18, wall)
    canvas.rect(x - 20, 44, x + 20, 47, lighter(wall, 0.4))
    canvas.pie(x, 45, 17, 24, 180, 360, roof)
    canvas.veil_disc(x - 8, 34, 3, 6, (255, 255, 255), 0.22)
    canvas.shape([(x + 2, 45), (x + 2, 24), (x + 7, 25), (x + 8, 45)], _DARK)
    canvas.shape([(x + 3, 33), (x + 15, 17), (x + 18.5, 19.5), (x + 6.5, 36)], (206, 210, 220))
    for dx in (-13, -6, 9):
        _arch(canvas, x + dx + 1, 53, 2, 5, glass)
    canvas.rect(x - 1.5, 57, x + 4.5, FOOT, _DARK)


_LANDMARKS: dict[str, Callable[[Canvas, float, RGB, RGB, RGB], None]] = {
    "church": draw_church,
    "clock tower": draw_clock_tower,
    "windmill": draw_windmill,
    "lighthouse": draw_lighthouse,
    "castle": draw_castle,
    "ferris wheel": draw_ferris_wheel,
    "factory": draw_factory,
    "pagoda": draw_pagoda,
    "water tower": draw_water_tower,
    "observatory": draw_observatory,
}
