"""Drawing surface 128 units wide and high, whatever its size in pixels."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Light = tuple[float, float, float]
Points = Sequence[tuple[float, float]]

_UNITS = 128
_SUPERSAMPLING = 3


def mix(one: RGB, other: RGB, t: float) -> RGB:
    """Blend two colours: `one` at t = 0, `other` at t = 1."""
    return (
        round(one[0] + (other[0] - one[0]) * t),
        round(one[1] + (other[1] - one[1]) * t),
        round(one[2] + (other[2] - one[2]) * t),
    )


def darker(colour: RGB, t: float = 0.18) -> RGB:
    """Return the shaded side of something; black cannot go darker, so there it is the lit side."""
    if sum(colour) < 180:
        return mix(colour, (255, 255, 255), t * 0.6)
    return mix(colour, (20, 16, 40), t)


def lighter(colour: RGB, t: float = 0.25) -> RGB:
    """Return the lit side of something."""
    return mix(colour, (255, 255, 255), t)


class Canvas:
    """Surface on which shapes are painted, in units, in its current `light`: a factor per channel.

    Shapes are drawn three times too large and averaged, which is what smooths the edges.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.scale = size * _SUPERSAMPLING / _UNITS
        side = size * _SUPERSAMPLING
        self.image = Image.new("RGB", (side, side))
        self.light: Light = (1.0, 1.0, 1.0)
        self._pen = ImageDraw.Draw(self.image)
        self._glaze = ImageDraw.Draw(self.image, "RGBA")

    def finished(self) -> Image.Image:
        """Return the picture, `size` x `size` RGB."""
        return self.image.reduce(_SUPERSAMPLING)

    def lit(self, colour: RGB) -> RGB:
        """Return `colour` as it looks in the current light."""
        r, g, b = self.light
        return (
            min(255, int(colour[0] * r)),
            min(255, int(colour[1] * g)),
            min(255, int(colour[2] * b)),
        )

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: RGB) -> None:
        """Paint a filled rectangle."""
        s = self.scale
        # Pillow paints the last row and column too; without the -1 every edge would be blurred.
        box = (round(x0 * s), round(y0 * s), round(x1 * s) - 1, round(y1 * s) - 1)
        if box[2] >= box[0] and box[3] >= box[1]:
            self._pen.rectangle(box, self.lit(colour))

    def disc(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        """Paint a filled ellipse around (x, y)."""
        s = self.scale
        self._pen.ellipse(
            ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), self.lit(colour)
        )

    def ring(self, x: float, y: float, r: float, colour: RGB, width: float) -> None:
        """Paint a circle's outline."""
        s = self.scale
        self._pen.ellipse(
            ((x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s),
            outline=self.lit(colour),
            width=max(1, round(width * s)),
        )

    def pie(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, colour: RGB
    ) -> None:
        """Paint a filled sector of an ellipse; angles in degrees, clockwise from three o'clock."""
        s = self.scale
        box = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._pen.pieslice(box, start, end, self.lit(colour))

    def shape(self, points: Points, colour: RGB) -> None:
        """Paint a filled polygon."""
        s = self.scale
        self._pen.polygon([(x * s, y * s) for x, y in points], self.lit(colour))

    def line(self, points: Points, colour: RGB, width: float) -> None:
        """Paint an open line through `points`."""
        s = self.scale
        self._pen.line(
            [(x * s, y * s) for x, y in points], self.lit(colour), max(1, round(width * s))
        )

    def veil(self, points: Points, colour: RGB, alpha: float) -> None:
        """Paint a translucent polygon in a colour that ignores the light."""
        s = self.scale
        self._glaze.polygon([(x * s, y * s) for x, y in points], (*colour, round(alpha * 255)))

    def veil_disc(
        self, x: float, y: float, rx: float, ry: float, colour: RGB, alpha: float
    ) -> None:
        """Paint a translucent ellipse in a colour that ignores the light."""
        s = self.scale
        box = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._glaze.ellipse(box, (*colour, round(alpha * 255)))

    def shadow(self, x: float, y: float, rx: float, ry: float, alpha: float = 0.25) -> None:
        """Paint the shadow on the ground under something."""
        self.veil_disc(x, y, rx, ry, (20, 20, 40), alpha)

    def gradient(self, y0: float, y1: float, stops: Sequence[RGB]) -> None:
        """Paint full-width bands from `stops[0]` at y0 to `stops[-1]` at y1, ignoring the light."""
        top, bottom = round(y0 * self.scale), round(y1 * self.scale)
        where = np.linspace(0, len(stops) - 1, bottom - top)
        known = np.arange(len(stops))
        table = np.array(stops, dtype=np.float64)
        column = np.stack([np.interp(where, known, table[:, c]) for c in range(3)], axis=1)
        strip = Image.fromarray(column[:, None, :].round().astype(np.uint8))
        self.image.paste(
            strip.resize((self.image.width, bottom - top), Image.Resampling.NEAREST), (0, top)
        )

    def reflect(self, shore: float, depth: float, strength: float) -> None:
        """Mirror what stands above y = `shore` into the `depth` units below it."""
        s, width = self.scale, self.image.width
        y, d = round(shore * s), round(depth * s)
        above = self.image.crop((0, y - d, width, y)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        below = self.image.crop((0, y, width, y + d))
        self.image.paste(Image.blend(below, above, strength), (0, y))
