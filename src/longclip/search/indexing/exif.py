"""EXIF: data that a camera wrote into an image file: when, where, with what."""

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL.ExifTags import GPS, IFD, Base

from longclip.image.decode import open_image

_MAX_CAMERA_CHARACTERS = 200


@dataclass(frozen=True)
class Metadata:
    """Facts that an image file holds itself, under the names they have in `Facts`."""

    format: str = ""
    taken: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None


def read_metadata(content: bytes) -> Metadata:
    """Read what a camera wrote. What is broken or missing is left out."""
    exif: Any = {}
    format = ""
    # Pillow's readers of metadata fail on broken files in whatever way they happen to.
    with suppress(Exception), open_image(io.BytesIO(content)) as image:
        format = image.format or ""
        exif = image.getexif()
    taken = None
    moments = _part(exif, IFD.Exif)
    for tag in (Base.DateTimeDigitized, Base.DateTimeOriginal):  # the last that can be read
        # `2024:05:17 12:30:11`, in local time; blanks or zeros where it is unknown.
        with suppress(Exception):
            text = str(moments[tag])[:19].replace("-", ":").replace("T", " ")
            taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    maker, model = "", ""
    with suppress(Exception):
        maker = " ".join(str(exif.get(Base.Make) or "").replace("\0", " ").split())
    with suppress(Exception):
        model = " ".join(str(exif.get(Base.Model) or "").replace("\0", " ").split())
    # Models mostly begin with their maker: `Canon` and `Canon EOS 5D` are `Canon EOS 5D`.
    camera = model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
    latitude, longitude = _position(_part(exif, IFD.GPSInfo))
    return Metadata(format, taken, latitude, longitude, camera[:_MAX_CAMERA_CHARACTERS] or None)


def _part(exif: Any, which: IFD) -> Mapping[int, Any]:
    with suppress(Exception):
        found: Mapping[int, Any] = exif.get_ifd(which)
        return found
    return {}


def _position(gps: Mapping[int, Any]) -> tuple[float, float] | tuple[None, None]:
    try:
        latitude = _degrees(gps[GPS.GPSLatitude], str(gps[GPS.GPSLatitudeRef]))
        longitude = _degrees(gps[GPS.GPSLongitude], str(gps[GPS.GPSLongitudeRef]))
    except Exception:  # missing, of the wrong type, divided by zero
        return None, None
    # A comparison with NaN is false, and so leaves it out.
    if abs(latitude) <= 90 and abs(longitude) <= 180:
        return latitude, longitude
    return None, None


def _degrees(values: Any, towards: str) -> float:
    degrees, minutes, seconds = (float(value) for value in values)
    size = degrees + minutes / 60 + seconds / 3600
    return -size if towards.strip("\0 ").upper() in ("S", "W") else size
