"""Sky: its colours by time and weather, sun, moon, clouds, rain and snow, and what flies."""

from random import Random

from longclip.scenes.graph import Scene, Thing
from longclip.scenes.pictures.canvas import RGB, Canvas, Light, darker, lighter, mix
from longclip.scenes.vocabulary import COLOURS

HORIZON = 60.0
COLUMNS = {"left": 24.0, "middle": 64.0, "right": 104.0}

_SKIES: dict[str, tuple[RGB, ...]] = {
    "morning": ((158, 200, 236), (214, 224, 236), (253, 236, 200)),
    "noon": ((54, 132, 222), (112, 178, 240), (178, 220, 248)),
    "sunset": ((84, 70, 142), (226, 108, 112), (254, 184, 92)),
    "night": ((10, 14, 44), (22, 32, 76), (48, 62, 112)),
}
_GREYS: dict[str, RGB] = {
    "morning": (206, 208, 212),
    "noon": (176, 188, 202),
    "sunset": (196, 136, 128),
    "night": (44, 48, 68),
}
_GREYNESS = {"clear": 0.0, "cloudy": 0.35, "rainy": 0.7, "snowy": 0.6, "foggy": 0.75}

# How strongly a time lights (what stands far away, what stands in front).
_LIGHTS: dict[str, tuple[Light, Light]] = {
    "morning": ((0.98, 0.97, 0.95), (1.0, 0.98, 0.95)),
    "noon": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "sunset": ((0.95, 0.80, 0.76), (0.98, 0.87, 0.82)),
    "night": ((0.6, 0.62, 0.78), (0.82, 0.84, 0.94)),
}
_DIMNESS = {"clear": 1.0, "cloudy": 0.95, "rainy": 0.88, "snowy": 0.97, "foggy": 0.95}


def lights(scene: Scene) -> tuple[Light, Light]:
    """Return the light on the back rows and the light on the front rows."""
    dim = _DIMNESS[scene.weather]
    (r, g, b), (fr, fg, fb) = _LIGHTS[scene.time_of_day]
    return (r * dim, g * dim, b * dim), (fr * dim, fg * dim, fb * dim)


def haze(scene: Scene) -> RGB:
    """Return the colour of the air at the horizon."""
    low = _SKIES[scene.time_of_day][-1]
    return mix(low, _GREYS[scene.time_of_day], _GREYNESS[scene.weather])


def draw_sky(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw everything behind the horizon line."""
    grey, t = _GREYS[scene.time_of_day], _GREYNESS[scene.weather]
    canvas.gradient(0, HORIZON + 8, [mix(stop, grey, t) for stop in _SKIES[scene.time_of_day]])
    if scene.weather in ("cloudy", "rainy", "snowy"):
        _draw_clouds(canvas, scene, rng)
    elif scene.weather == "clear" and scene.time_of_day == "night":
        _draw_stars_and_moon(canvas, scene, rng)
    elif scene.weather == "clear":
        _draw_sun(canvas, scene)


def _draw_sun(canvas: Canvas, scene: Scene) -> None:
    x = COLUMNS[scene.trees.side]
    y, r, colour = {
        "morning": (36.0, 7.0, (255, 250, 214)),
        "noon": (15.0, 7.5, (255, 240, 140)),
        "sunset": (40.0, 10.0, (255, 214, 104)),
    }[scene.time_of_day]
    for spread in (3.0, 2.2, 1.5):
        canvas.veil_disc(x, y, r * spread, r * spread, colour, 0.16)
    canvas.veil_disc(x, y, r, r, colour, 1.0)


def _draw_stars_and_moon(canvas: Canvas, scene: Scene, rng: Random) -> None:
    for _ in range(34):
        x, y, r = rng.uniform(0, 128), rng.uniform(0, 54), rng.choice((0.4, 0.5, 0.8))
        canvas.veil_disc(x, y, r, r, (255, 252, 224), rng.uniform(0.6, 1.0))
    x, y = COLUMNS[scene.trees.side], 17
    canvas.veil_disc(x, y, 14, 14, (220, 226, 255), 0.10)
    canvas.veil_disc(x, y, 8, 8, (250, 246, 216), 1.0)
    if scene.moon == "crescent":
        canvas.veil_disc(x + 4.5, y - 1.5, 7.4, 7.4, (20, 29, 70), 1.0)
    else:
        for dx, dy, r in ((-2.5, -2, 1.6), (2, 1.5, 2), (-1.5, 3.5, 1.2)):
            canvas.veil_disc(x + dx, y + dy, r, r, (226, 220, 188), 1.0)


def _draw_clouds(canvas: Canvas, scene: Scene, rng: Random) -> None:
    white = {"cloudy": 0.75, "rainy": 0.05, "snowy": 0.45}[scene.weather]
    base = mix(_GREYS[scene.time_of_day], (255, 255, 255), white)
    if scene.time_of_day == "night":
        base = mix(base, (70, 76, 104), 0.75)
    elif scene.time_of_day == "sunset":
        base = mix(base, (250, 170, 150), 0.4)
    if scene.weather == "rainy":
        base = mix(base, (70, 76, 92), 0.45)
    puffs = ((-10, 1, 7, 4.5), (-3, -3, 8, 6.5), (6, -1, 8, 5.5), (12, 2, 6, 3.8))
    for column in range(5):
        x = 4 + column * 30 + rng.uniform(-6, 6)
        y = rng.uniform(6, 22)
        size = rng.uniform(0.9, 1.3)
        # The shaded undersides first: each puff then covers its neighbours' shade.
        for lower, colour in ((1.6, darker(base, 0.12)), (0.0, base)):
            for dx, dy, rx, ry in puffs:
                canvas.veil_disc(
                    x + dx * size, y + (dy + lower) * size, rx * size, ry * size, colour, 1.0
                )


def draw_fog(canvas: Canvas, scene: Scene) -> None:
    """Draw a veil over the back rows, thickest at the ground."""
    air = haze(scene)
    for top in (22, 38, 50):
        canvas.veil([(0, top), (128, top), (128, 74), (0, 74)], air, 0.26)


def draw_falling(canvas: Canvas, scene: Scene, rng: Random) -> None:
    """Draw rain or snow in front of everything."""
    if scene.weather == "rainy":
        for _ in range(54):
            x, y = rng.uniform(-4, 132), rng.uniform(-6, 128)
            points = [(x, y), (x + 0.55, y), (x - 1.6, y + 7), (x - 2.1, y + 7)]
            canvas.veil(points, (214, 228, 246), 0.55)
    elif scene.weather == "snowy":
        for _ in range(64):
            x, y, r = rng.uniform(0, 128), rng.uniform(0, 128), rng.uniform(0.6, 1.15)
            canvas.veil_disc(x, y, r, r, (255, 255, 255), 0.9)


def draw_flyer(canvas: Canvas, flyer: Thing, night: bool) -> None:
    """Draw a balloon, a kite, an airship or birds, high in the column of `flyer.side`."""
    x = COLUMNS[flyer.side]
    if flyer.kind == "hot-air balloon":
        _draw_balloon(canvas, x, 16, COLOURS[flyer.colour], COLOURS[flyer.accent])
    elif flyer.kind == "kite":
        _draw_kite(canvas, x, 16, COLOURS[flyer.colour])
    elif flyer.kind == "airship":
        _draw_airship(canvas, x, 15, COLOURS[flyer.colour], 1 if flyer.facing == "right" else -1)
    else:
        ink = (226, 228, 240) if night else (52, 54, 70)
        for dx, dy in ((-8, -2), (6, -6), (4, 6), (-11, 9))[: flyer.count]:
            wings = ((-4.5, -2), (-2, -2.6), (0, 0), (2, -2.6), (4.5, -2))
            canvas.line([(x + dx + wx, 17 + dy + wy) for wx, wy in wings], ink, 1.2)


def _draw_balloon(canvas: Canvas, x: float, y: float, colour: RGB, stripe: RGB) -> None:
    canvas.line([(x - 5, y + 9), (x - 2.5, y + 17)], (90, 70, 50), 0.5)
    canvas.line([(x + 5, y + 9), (x + 2.5, y + 17)], (90, 70, 50), 0.5)
    canvas.shape([(x - 9, y + 5), (x + 9, y + 5), (x + 3, y + 12.5), (x - 3, y + 12.5)], colour)
    canvas.disc(x, y, 11, 11.5, colour)
    canvas.shape(
        [(x - 3.4, y + 4), (x + 3.4, y + 4), (x + 1.2, y + 12.5), (x - 1.2, y + 12.5)], stripe
    )
    canvas.disc(x, y, 3.6, 11.3, stripe)
    canvas.veil_disc(x - 4.5, y - 4, 2.6, 4.5, (255, 255, 255), 0.22)
    canvas.rect(x - 2.6, y + 16, x + 2.6, y + 20, (150, 100, 58))


def _draw_kite(canvas: Canvas, x: float, y: float, colour: RGB) -> None:
    canvas.line(
        [(x, y + 10), (x + 3, y + 15), (x - 1, y + 19), (x + 2, y + 24)], (250, 250, 250), 0.6
    )
    canvas.shape([(x, y - 10), (x + 8.5, y - 1), (x, y + 11), (x - 8.5, y - 1)], colour)
    canvas.shape([(x, y - 10), (x + 8.5, y - 1), (x, y - 1)], lighter(colour, 0.3))
    canvas.shape([(x, y - 1), (x, y + 11), (x - 8.5, y - 1)], darker(colour))
    for dx, dy in ((3, 15), (-1, 19), (2, 24)):
        canvas.shape(
            [
                (x + dx - 2, y + dy - 1.2),
                (x + dx + 2, y + dy + 1.2),
                (x + dx + 2, y + dy - 1.2),
                (x + dx - 2, y + dy + 1.2),
            ],
            colour,
        )


def _draw_airship(canvas: Canvas, x: float, y: float, colour: RGB, way: int) -> None:
    for dy in (-6, 6):
        canvas.shape([(x - way * 11, y), (x - way * 18, y + dy), (x - way * 17, y)], darker(colour))
    canvas.disc(x, y, 17, 7, colour)
    canvas.veil_disc(x + way * 2, y - 3, 11, 1.8, (255, 255, 255), 0.3)
    canvas.rect(x - 5, y + 6.5, x + 5, y + 10, (84, 84, 96))
    canvas.rect(x - 3.5, y + 7.4, x + 3.5, y + 8.8, (240, 230, 170))
