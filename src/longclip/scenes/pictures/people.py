"""People of the front row."""

from longclip.scenes.graph import Person
from longclip.scenes.pictures.canvas import RGB, Canvas, darker, lighter
from longclip.scenes.vocabulary import COLOURS

_FLOOR = 125.0
_SKIN: RGB = (242, 200, 166)
_HAIR: dict[str, RGB] = {
    "man": (74, 52, 42),
    "woman": (122, 70, 40),
    "boy": (160, 110, 60),
    "girl": (206, 150, 70),
}


def draw_person(canvas: Canvas, x: float, person: Person) -> None:
    """Draw a standing figure: adults 33 units tall, children 25."""
    size = 1.0 if person.kind in ("man", "woman") else 0.76
    canvas.shadow(x, _FLOOR, 10, 1.8)
    _draw_body(canvas, x, person, size)
    _draw_head(canvas, x, person, size)
    if person.item:
        _draw_item(canvas, x, person, size)


def _draw_body(canvas: Canvas, x: float, person: Person, u: float) -> None:
    coat = COLOURS[person.coat]
    y = _FLOOR - 33 * u
    skirted = person.kind in ("woman", "girl")
    leg = _SKIN if skirted else (78, 82, 110)
    for dx in (-2.6, 2.6):
        canvas.rect(x + (dx - 1.7) * u, y + 22 * u, x + (dx + 1.7) * u, _FLOOR - 1.5, leg)
        canvas.rect(x + (dx - 2.2) * u, _FLOOR - 2.2, x + (dx + 2.2) * u, _FLOOR, (58, 46, 46))
    for way in (-1, 1):
        arm = [(x + way * 4.4 * u, y + 10.5 * u), (x + way * 8.6 * u, y + 19.5 * u)]
        canvas.line(arm, darker(coat, 0.22), 3.2 * u)
        canvas.disc(*arm[1], 1.7 * u, 1.7 * u, _SKIN)
    hem = 8.2 if skirted else 5.8
    canvas.shape(
        [
            (x - 5.2 * u, y + 9 * u),
            (x + 5.2 * u, y + 9 * u),
            (x + hem * u, y + 25 * u),
            (x - hem * u, y + 25 * u),
        ],
        coat,
    )
    canvas.shape(
        [
            (x + 2.6 * u, y + 9 * u),
            (x + 5.2 * u, y + 9 * u),
            (x + hem * u, y + 25 * u),
            (x + hem * 0.5 * u, y + 25 * u),
        ],
        darker(coat, 0.14),
    )
    if not skirted:
        canvas.rect(x - 0.4 * u, y + 10 * u, x + 0.4 * u, y + 25 * u, darker(coat, 0.3))


def _draw_head(canvas: Canvas, x: float, person: Person, u: float) -> None:
    y = _FLOOR - 33 * u + 4.8 * u
    hair = _HAIR[person.kind]
    if person.kind == "woman":
        canvas.disc(x, y + 1.4 * u, 5.2 * u, 6.2 * u, hair)
    elif person.kind == "girl":
        for way in (-1, 1):
            canvas.disc(x + way * 5.4 * u, y + 2 * u, 2.2 * u, 3.4 * u, hair)
    canvas.disc(x, y - 0.6 * u, 4.7 * u, 4.8 * u, hair)
    canvas.disc(x, y + 0.9 * u, 4.1 * u, 4.0 * u, _SKIN)
    for dx in (-1.6, 1.6):
        canvas.disc(x + dx * u, y + 1.1 * u, 0.55 * u, 0.65 * u, (50, 40, 40))
    if person.hat:
        hat = COLOURS[person.hat]
        canvas.shape(
            [
                (x - 4 * u, y - 1.8 * u),
                (x - 3.3 * u, y - 7 * u),
                (x + 3.3 * u, y - 7 * u),
                (x + 4 * u, y - 1.8 * u),
            ],
            hat,
        )
        canvas.disc(x, y - 1.8 * u, 7.4 * u, 1.7 * u, darker(hat, 0.12))


def _draw_item(canvas: Canvas, x: float, person: Person, u: float) -> None:
    colour = COLOURS[person.item_colour]
    hand_x, hand_y = x + 8.8 * u, _FLOOR - 13.5 * u
    if person.item == "suitcase":
        canvas.rect(hand_x - 1.6, hand_y + 0.5, hand_x + 1.6, hand_y + 2.4, (70, 56, 50))
        canvas.rect(hand_x - 4, hand_y + 2, hand_x + 7.5, _FLOOR - 0.5, colour)
        canvas.rect(hand_x - 4, hand_y + 5, hand_x + 7.5, hand_y + 6, darker(colour, 0.3))
    elif person.item == "balloon":
        top = _FLOOR - 30
        canvas.line([(hand_x, hand_y), (hand_x + 4, top + 6)], (240, 240, 240), 0.6)
        canvas.disc(hand_x + 4, top, 5.6, 6.6, colour)
        canvas.disc(hand_x + 2.2, top - 2.2, 1.4, 1.8, lighter(colour, 0.6))
    elif person.item == "flag":
        top = _FLOOR - 34
        canvas.line([(hand_x, _FLOOR - 6), (hand_x, top)], (120, 90, 64), 1)
        canvas.shape(
            [
                (hand_x, top),
                (hand_x + 12.5, top + 1),
                (hand_x + 11.5, top + 8.5),
                (hand_x, top + 8),
            ],
            colour,
        )
        canvas.shape(
            [
                (hand_x + 4, top + 0.3),
                (hand_x + 6.5, top + 0.5),
                (hand_x + 6.5, top + 8.2),
                (hand_x + 4, top + 8.1),
            ],
            darker(colour, 0.12),
        )
    else:
        umbrella_x, top = hand_x + 3, _FLOOR - 33 * u - 4
        canvas.line([(umbrella_x - 2.5, hand_y + 1), (umbrella_x - 0.5, top)], (80, 64, 60), 1)
        canvas.pie(umbrella_x, top + 6, 12, 10, 180, 360, colour)
        canvas.pie(umbrella_x, top + 6, 4.4, 10, 180, 360, lighter(colour, 0.25))
        for dx in (-8.0, 0.0, 8.0):
            canvas.pie(umbrella_x + dx, top + 6.4, 4, 2, 180, 360, darker(colour, 0.3))
