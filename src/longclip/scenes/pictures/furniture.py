"""Things that stand on the square and the field of the middle row, and in front."""

from collections.abc import Callable

from longclip.scenes.graph import Thing
from longclip.scenes.pictures.canvas import RGB, Canvas, darker, lighter
from longclip.scenes.vocabulary import COLOURS

_STONE: RGB = (186, 184, 186)
_IRON: RGB = (62, 66, 78)
_SPOTS = {1: (0.0,), 2: (-8.0, 8.0), 3: (-12.5, 0.0, 12.5), 4: (-13.5, -4.5, 4.5, 13.5)}


def draw_haystacks(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw round bales, seen from the end."""
    straw = (222, 174, 72)
    for dx in _SPOTS[thing.count]:
        canvas.shadow(x + dx, 89, 7, 1.6)
        canvas.disc(x + dx, 82.4, 6.4, 6.4, darker(straw, 0.2))
        canvas.disc(x + dx - 0.6, 82, 5.6, 5.6, straw)
        canvas.ring(x + dx - 0.6, 82, 3.4, darker(straw, 0.22), 0.8)


def draw_fountain(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a fountain of two basins with falling water."""
    water = (150, 204, 236)
    canvas.shadow(x, 89.5, 17, 1.6)
    for way in (-1, 1):
        canvas.line([(x, 66), (x + way * 5, 66.5), (x + way * 8, 72)], water, 1.4)
        canvas.line([(x + way * 7, 75), (x + way * 11, 82)], water, 1.6)
    canvas.rect(x - 1.4, 66, x + 1.4, 84, _STONE)
    canvas.pie(x, 73, 9, 5.5, 0, 180, _STONE)
    canvas.disc(x, 73, 9, 1.6, water)
    canvas.shape([(x - 17, 82), (x + 17, 82), (x + 15, 89.5), (x - 15, 89.5)], _STONE)
    canvas.disc(x, 82, 17, 2.6, lighter(_STONE, 0.3))
    canvas.disc(x, 82, 15, 1.9, water)


def draw_statue(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a bronze-green figure with a raised arm on a plinth."""
    bronze = (92, 138, 122)
    canvas.shadow(x, 89.5, 11, 1.6)
    canvas.rect(x - 8, 86, x + 8, 89.5, _STONE)
    canvas.rect(x - 6, 79, x + 6, 86, lighter(_STONE, 0.2))
    canvas.rect(x + 2.5, 79, x + 6, 86, _STONE)
    canvas.shape([(x - 3.6, 68), (x + 3.6, 68), (x + 4.6, 79), (x - 4.6, 79)], bronze)
    canvas.disc(x, 64.8, 2.9, 3.1, bronze)
    canvas.line([(x + 3, 69), (x + 7, 61.5)], bronze, 2)
    canvas.line([(x - 3, 69), (x - 5.6, 76)], bronze, 2)


def draw_market_stall(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a counter with fruit under an awning striped in `accent` and white."""
    cloth = COLOURS[thing.accent]
    canvas.shadow(x, 89.5, 18, 1.6)
    for dx in (-15, 14):
        canvas.rect(x + dx, 70, x + dx + 1.2, 89, (120, 88, 60))
    canvas.rect(x - 16, 79, x + 16, 89.5, (176, 130, 86))
    canvas.rect(x - 16, 79, x + 16, 80.6, (208, 164, 114))
    fruits = (COLOURS["red"], COLOURS["orange"], COLOURS["green"])
    for i in range(9):
        canvas.disc(x - 13 + i * 3.2, 77.8, 1.7, 1.7, fruits[i // 3])
    pale = (250, 248, 242) if thing.accent != "white" else (222, 220, 214)
    for i in range(7):
        stripe = cloth if i % 2 == 0 else pale
        top, low = x - 14 + i * 4, x - 18.2 + i * 5.2
        canvas.shape([(top, 65), (top + 4, 65), (low + 5.2, 72.5), (low, 72.5)], stripe)
        canvas.pie(low + 2.6, 72.5, 2.6, 2.4, 0, 180, darker(stripe, 0.08))


def draw_bench(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a painted bench, 30 units long."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, 125, 17, 1.6)
    for dx in (-12, 10.4):
        canvas.rect(x + dx, 108, x + dx + 1.8, 125, _IRON)
    for y in (105.5, 110.2):
        canvas.rect(x - 15, y, x + 15, y + 3.6, paint)
        canvas.rect(x - 15, y + 2.8, x + 15, y + 3.6, darker(paint, 0.25))
    canvas.rect(x - 16, 115.6, x + 16, 119.4, lighter(paint, 0.15))
    canvas.rect(x - 16, 118.2, x + 16, 119.4, darker(paint, 0.25))


def draw_bicycle(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a bicycle with its frame in `colour`."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, 125, 17, 1.6)
    for dx in (-9.5, 9.5):
        canvas.ring(x + dx, 117, 7.6, _IRON, 1.5)
        canvas.disc(x + dx, 117, 1, 1, _IRON)
    saddle, crank, head = (x - 4.5, 107), (x - 1, 117), (x + 6.5, 107.5)
    canvas.line([(x - 9.5, 117), saddle, head, (x + 9.5, 117)], paint, 2.2)
    canvas.line([(x - 9.5, 117), crank, head], paint, 2.2)
    canvas.line([saddle, crank], paint, 2.2)
    canvas.line([head, (x + 6, 103.4), (x + 9.6, 102.6)], _IRON, 1.3)
    canvas.rect(x - 7.6, 105, x - 2, 106.8, _IRON)


def draw_tulips(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw large single flowers on green stems."""
    petal = COLOURS[thing.colour]
    stem = (60, 128, 64)
    for dx in _SPOTS[thing.count]:
        fx = x + dx
        canvas.rect(fx - 0.7, 112, fx + 0.7, 125, stem)
        canvas.shape([(fx, 124), (fx - 4.2, 115), (fx - 1.2, 120)], stem)
        canvas.shape([(fx, 125), (fx + 4.2, 116.5), (fx + 1.2, 121)], darker(stem, 0.2))
        canvas.pie(fx, 107.6, 4, 6, 0, 180, petal)
        canvas.shape(
            [
                (fx - 4, 108),
                (fx - 4, 102.5),
                (fx - 1.9, 105.4),
                (fx, 101.8),
                (fx + 1.9, 105.4),
                (fx + 4, 102.5),
                (fx + 4, 108),
            ],
            petal,
        )
        canvas.shape(
            [(fx + 1.6, 105.2), (fx + 4, 102.5), (fx + 4, 109), (fx + 1.6, 112)],
            darker(petal, 0.16),
        )


def draw_street_lamp(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw an iron post with a glowing lantern."""
    canvas.shadow(x, 125, 6, 1.6)
    canvas.veil_disc(x, 96.5, 9, 9, (255, 240, 160), 0.22)
    canvas.rect(x - 1, 101, x + 1, 125, _IRON)
    canvas.rect(x - 3.4, 122.6, x + 3.4, 125, _IRON)
    canvas.shape(
        [(x - 4.4, 92), (x + 4.4, 92), (x + 2.8, 101.5), (x - 2.8, 101.5)], (255, 240, 160)
    )
    canvas.shape([(x - 5.4, 92.4), (x, 88.6), (x + 5.4, 92.4)], _IRON)
    canvas.rect(x - 3.4, 100.6, x + 3.4, 102, _IRON)


def draw_postbox(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a rounded box on a foot."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, 125, 8, 1.6)
    canvas.rect(x - 5, 122, x + 5, 125, _IRON)
    canvas.pie(x, 104.5, 7, 6.5, 180, 360, darker(paint, 0.15))
    canvas.rect(x - 6.4, 104, x + 6.4, 122, paint)
    canvas.rect(x + 3, 104, x + 6.4, 122, darker(paint, 0.15))
    canvas.rect(x - 4, 106.8, x + 4, 108.6, _IRON)
    canvas.rect(x - 3.4, 111.6, x + 2.4, 116, (248, 246, 240))


def draw_barrels(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw standing barrels with iron hoops."""
    paint = COLOURS[thing.colour]
    for dx in _SPOTS[thing.count]:
        bx = x + dx
        canvas.shadow(bx, 125, 7, 1.6)
        canvas.shape(
            [
                (bx - 4.6, 108),
                (bx + 4.6, 108),
                (bx + 6, 116.5),
                (bx + 4.6, 125),
                (bx - 4.6, 125),
                (bx - 6, 116.5),
            ],
            paint,
        )
        canvas.shape(
            [(bx + 2, 108), (bx + 4.6, 108), (bx + 6, 116.5), (bx + 4.6, 125), (bx + 2, 125)],
            darker(paint, 0.16),
        )
        canvas.disc(bx, 108, 4.6, 1.5, lighter(paint, 0.35))
        for y in (112, 120):
            canvas.rect(
                bx - 5.6, y, bx + 5.6, y + 1.1, _IRON if thing.colour != "black" else _STONE
            )


def draw_ball(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a large ball with a highlight."""
    paint = COLOURS[thing.colour]
    canvas.shadow(x, 125, 8, 1.6)
    canvas.disc(x, 117.5, 7.6, 7.6, darker(paint, 0.16))
    canvas.disc(x - 0.5, 117, 7, 7, paint)
    canvas.disc(x - 2.8, 114.2, 1.8, 1.6, lighter(paint, 0.7))


def draw_tent(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a ridge tent with a dark opening."""
    cloth = COLOURS[thing.colour]
    canvas.shadow(x, 125, 19, 1.6)
    canvas.shape([(x - 19, 125), (x - 1, 98), (x + 1, 98), (x + 19, 125)], cloth)
    canvas.shape([(x, 98), (x + 19, 125), (x + 8, 125)], darker(cloth, 0.18))
    canvas.shape(
        [(x, 104), (x + 6.5, 125), (x - 6.5, 125)],
        (58, 50, 58) if thing.colour != "black" else (170, 160, 150),
    )
    canvas.shape([(x, 104), (x - 6.5, 125), (x - 9, 125)], lighter(cloth, 0.35))


def draw_parasol(canvas: Canvas, x: float, thing: Thing) -> None:
    """Draw a beach parasol in `colour` with stripes in `accent`."""
    cloth, stripe = COLOURS[thing.colour], COLOURS[thing.accent]
    canvas.shadow(x, 125, 14, 1.6)
    canvas.rect(x - 0.9, 96, x + 0.9, 125, (238, 230, 214))
    canvas.pie(x, 107, 19, 14, 180, 360, cloth)
    canvas.pie(x, 107, 12, 14, 180, 360, stripe)
    canvas.pie(x, 107, 5.4, 14, 180, 360, cloth)
    canvas.disc(x, 92.8, 1.2, 1.2, (238, 230, 214))


FURNITURE: dict[str, Callable[[Canvas, float, Thing], None]] = {
    "haystack": draw_haystacks,
    "fountain": draw_fountain,
    "statue": draw_statue,
    "market stall": draw_market_stall,
    "bench": draw_bench,
    "bicycle": draw_bicycle,
    "tulip": draw_tulips,
    "street lamp": draw_street_lamp,
    "postbox": draw_postbox,
    "barrel": draw_barrels,
    "ball": draw_ball,
    "tent": draw_tent,
    "parasol": draw_parasol,
}
