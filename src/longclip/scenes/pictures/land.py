"""Backdrops on the horizon, and the grounds that the rows stand on."""

from collections.abc import Callable
from random import Random

from longclip.scenes.graph import Scene
from longclip.scenes.pictures.canvas import RGB, Canvas, darker, lighter, mix
from longclip.scenes.pictures.sky import HORIZON, haze

# Heights of the ground lines: between back and middle row, and between middle row and front.
_SHORE = 69.0
_FRONT = 92.0

_GRASS: RGB = (146, 192, 104)
_BACK_GROUNDS: dict[str, RGB] = {
    "city street": (188, 186, 180),
    "town square": (216, 196, 166),
    "park": (134, 182, 98),
    "beach": (222, 206, 152),
    "harbour": (170, 166, 160),
    "lake": (128, 176, 104),
    "farm": (164, 194, 96),
    "mountain village": (140, 186, 110),
}
_FRONT_GROUNDS: dict[str, RGB] = {
    "city street": (196, 194, 192),
    "town square": (222, 200, 170),
    "park": _GRASS,
    "beach": (238, 218, 164),
    "harbour": (178, 146, 110),
    "lake": (160, 194, 112),
    "farm": (176, 196, 104),
    "mountain village": (152, 190, 116),
}
_SNOW: RGB = (240, 244, 250)
_WATERY = ("park", "beach", "harbour", "lake")


def _ground(scene: Scene, colour: RGB) -> RGB:
    if scene.weather == "snowy":
        return mix(colour, _SNOW, 0.72)
    # Ground stays darker than what stands on it at night, or coats would drown in it.
    return mix(colour, (26, 30, 60), 0.35) if scene.time_of_day == "night" else colour


def draw_backdrop(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw the line of hills, mountains, trees, roofs or rocks on the horizon."""
    _BACKDROPS[scene.backdrop](canvas, scene, rng)
    bottom = _ground(scene, _BACK_GROUNDS[scene.setting])
    top = mix(bottom, haze(scene), 0.25)
    canvas.gradient(HORIZON, _SHORE + 1, [canvas.lit(top), canvas.lit(bottom)])


def draw_mountains(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw six mountains with peaks of snow."""
    rock = mix((112, 122, 158), haze(scene), 0.2)
    for x in (-6, 20, 44, 70, 96, 124):
        peak_x, peak = x + rng.uniform(-6, 6), rng.uniform(18, 32)
        half = (HORIZON + 2 - peak) * 0.85
        foot = HORIZON + 2
        canvas.shape([(peak_x - half, foot), (peak_x, peak), (peak_x + half, foot)], rock)
        canvas.shape(
            [(peak_x, peak), (peak_x + half, foot), (peak_x - half * 0.1, foot)], darker(rock, 0.16)
        )
        h = 11.0
        cap = [
            (peak_x, peak),
            (peak_x + h * 0.85, peak + h),
            (peak_x + 3.5, peak + h - 3.5),
            (peak_x, peak + h + 1),
            (peak_x - 4, peak + h - 3),
            (peak_x - h * 0.85, peak + h),
        ]
        canvas.shape(cap, (250, 252, 255))
        canvas.shape([cap[0], cap[1], cap[2], cap[3]], (214, 224, 242))


def draw_skyline(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw tall buildings, whose windows are lit at night."""
    air = haze(scene)
    x = -3.0
    while x < 128:
        width, top = rng.uniform(8, 14), rng.uniform(28, 50)
        wall = mix(rng.choice(((122, 132, 162), (142, 146, 172), (108, 120, 154))), air, 0.25)
        canvas.rect(x, top, x + width, HORIZON + 2, wall)
        canvas.rect(x + width * 0.7, top, x + width, HORIZON + 2, darker(wall, 0.12))
        window = (255, 226, 130) if scene.time_of_day == "night" else lighter(wall, 0.3)
        y = top + 3
        while y < HORIZON - 2:
            for column in (0.22, 0.55):
                if rng.random() < 0.7:
                    canvas.rect(x + width * column, y, x + width * column + 1.6, y + 2, window)
            y += 4.5
        x += width + rng.uniform(-0.5, 1.5)


def draw_forest(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw two lines of dark conifers."""
    for colour, low, high, step in (((58, 104, 84), 34, 42, 6.5), ((44, 86, 66), 42, 48, 5.5)):
        green = mix(colour, haze(scene), 0.12)
        canvas.rect(0, high + 4, 128, HORIZON + 2, green)
        x = -2.0
        while x < 132:
            top = rng.uniform(low, high)
            canvas.shape([(x - 5, HORIZON), (x, top), (x + 5, HORIZON)], green)
            x += step


def draw_cliffs(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw red rocks with flat tops and layers."""
    rock = mix((206, 118, 82), haze(scene), 0.12)
    x = -4.0
    while x < 128:
        width, top = rng.uniform(18, 30), rng.uniform(30, 42)
        canvas.shape(
            [(x - 4, HORIZON + 2), (x, top), (x + width, top + 1), (x + width + 4, HORIZON + 2)],
            rock,
        )
        for y, t in ((top + 4, 0.12), (top + 9, 0.22), (top + 15, 0.1)):
            canvas.rect(x - 0.5, y, x + width + 0.5, y + 2.2, darker(rock, t))
        x += width + rng.uniform(0, 8)
    canvas.rect(0, HORIZON - 6, 128, HORIZON + 2, darker(rock, 0.1))


def draw_hills(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw two lines of round green hills."""
    for colour, y, spread in (((122, 172, 118), 38, 0.3), ((104, 158, 92), 46, 0.08)):
        for x in (8, 52, 98, 132):
            canvas.disc(
                x + rng.uniform(-12, 12),
                HORIZON + 6,
                rng.uniform(30, 42),
                HORIZON + 6 - y - rng.uniform(-3, 3),
                mix(colour, haze(scene), spread),
            )


_BACKDROPS: dict[str, Callable[[Canvas, Scene, Random], None]] = {
    "mountains": draw_mountains,
    "skyline": draw_skyline,
    "forest": draw_forest,
    "cliffs": draw_cliffs,
    "hills": draw_hills,
}


def draw_middle_ground(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw the road, water, field or paving between the back row and the front."""
    if scene.setting in _WATERY:
        _draw_water(canvas, scene, rng)
    elif scene.setting == "city street":
        _draw_road(canvas, (94, 96, 106), (240, 240, 232))
    elif scene.setting == "mountain village":
        _draw_road(canvas, _ground(scene, (190, 160, 118)), None)
    elif scene.setting == "farm":
        _draw_field(canvas, scene)
    else:
        _draw_paving(canvas, _SHORE, _FRONT, _ground(scene, (228, 210, 182)), 3)


def _draw_water(canvas: Canvas, scene: Scene, rng: Random) -> None:
    deep = {
        "harbour": (50, 96, 136),
        "park": (96, 164, 178),
        "beach": (44, 152, 190),
        "lake": (72, 138, 186),
    }[scene.setting]
    canvas.gradient(_SHORE, _FRONT, [canvas.lit(mix(deep, haze(scene), 0.45)), canvas.lit(deep)])
    canvas.reflect(_SHORE, _FRONT - _SHORE, 0.26)
    for _ in range(16):
        x, y = rng.uniform(-6, 124), rng.uniform(_SHORE + 3, _FRONT - 3)
        canvas.veil([(x, y), (x + rng.uniform(5, 12), y), (x + 6, y + 0.7)], (255, 255, 255), 0.35)
    if scene.setting == "harbour":
        canvas.rect(0, _SHORE - 2, 128, _SHORE + 1.5, (118, 112, 108))
    elif scene.setting == "park":
        grass = _ground(scene, _BACK_GROUNDS["park"])
        canvas.rect(0, _SHORE - 1, 128, _SHORE + 2.5, darker(grass, 0.1))
        for x in (0, 128):
            canvas.disc(x, _SHORE + 1, 9, 6, darker(grass, 0.1))


def _draw_road(canvas: Canvas, colour: RGB, marks: RGB | None) -> None:
    canvas.rect(0, _SHORE, 128, _FRONT, colour)
    canvas.rect(0, _SHORE, 128, _SHORE + 1.2, darker(colour))
    if marks is None:
        for y in (78, 85):
            canvas.rect(0, y, 128, y + 1.3, darker(colour, 0.1))
        return
    for x in range(-4, 128, 16):
        canvas.shape([(x, 80), (x + 9, 80), (x + 8.6, 81.8), (x - 0.4, 81.8)], marks)


def _draw_field(canvas: Canvas, scene: Scene) -> None:
    wheat = _ground(scene, (232, 200, 98))
    canvas.rect(0, _SHORE, 128, _FRONT, wheat)
    for x in range(-60, 190, 11):
        near = 64 + (x - 64) * 1.5
        canvas.shape(
            [(x, _SHORE), (x + 2.5, _SHORE), (near + 4, _FRONT), (near, _FRONT)],
            darker(wheat, 0.12),
        )


def _draw_paving(canvas: Canvas, top: float, bottom: float, colour: RGB, rows: int) -> None:
    canvas.rect(0, top, 128, bottom, colour)
    joint, height = darker(colour, 0.1), (bottom - top) / rows
    for row in range(rows):
        y = top + row * height
        canvas.rect(0, y, 128, y + 0.6, joint)
        for x in range(-8 + 8 * (row % 2), 128, 16):
            near = 64 + (x - 64) * 1.06
            canvas.shape(
                [(x, y), (x + 0.7, y), (near + 0.7, y + height), (near, y + height)], joint
            )


def draw_front_ground(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw the ground that the people stand on."""
    ground = _ground(scene, _FRONT_GROUNDS[scene.setting])
    canvas.gradient(_FRONT, 128, [canvas.lit(ground), canvas.lit(darker(ground, 0.12))])
    if scene.setting in ("city street", "town square"):
        _draw_paving(canvas, _FRONT + 1.5, 128, ground, 4 if scene.setting == "city street" else 6)
        canvas.rect(0, _FRONT - 1, 128, _FRONT + 1.5, darker(ground, 0.25))
    elif scene.setting == "harbour":
        for y in range(int(_FRONT), 128, 6):
            canvas.rect(0, y, 128, y + 0.7, darker(ground, 0.25))
        canvas.rect(0, _FRONT - 1.5, 128, _FRONT + 1, darker(ground, 0.35))
    elif scene.setting == "beach":
        canvas.rect(0, _FRONT - 1.4, 128, _FRONT + 0.6, (250, 252, 252))
        for _ in range(26):
            canvas.disc(
                rng.uniform(0, 128), rng.uniform(_FRONT + 2, 127), 0.8, 0.5, darker(ground, 0.14)
            )
    else:
        _draw_grass(canvas, scene, ground, rng)


def _draw_grass(canvas: Canvas, scene: Scene, ground: RGB, rng: Random) -> None:
    edge = darker(ground, 0.14)
    canvas.rect(0, _FRONT - 0.8, 128, _FRONT + 0.8, edge)
    for _ in range(22):
        x, y = rng.uniform(0, 128), rng.uniform(_FRONT + 3, 127)
        canvas.line([(x - 1, y - 2), (x, y), (x + 1.2, y - 2.4)], edge, 0.5)
    if scene.setting == "farm":
        for y in (95.5, 99.5):
            canvas.rect(0, y, 128, y + 1.5, (170, 130, 90))
        for x in range(2, 128, 14):
            canvas.rect(x, 92.5, x + 2.2, 104, (150, 112, 76))
    elif scene.setting == "lake":
        for _ in range(12):
            x = rng.uniform(0, 128)
            canvas.line(
                [(x, _FRONT + 2), (x + rng.uniform(-1.5, 1.5), _FRONT - 6)], (92, 134, 74), 0.7
            )
    elif scene.setting == "mountain village":
        for _ in range(4):
            x, y = rng.uniform(4, 124), rng.uniform(_FRONT + 4, 124)
            canvas.disc(x, y, 3, 1.8, (160, 160, 166))
            canvas.disc(x - 0.6, y - 0.5, 1.8, 1, (190, 190, 194))
