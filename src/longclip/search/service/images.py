"""Images that clients fetch, by id and never by path, and images that they send, as data URLs."""

import base64
import binascii
import io
import re
from urllib.parse import quote

from fastapi import APIRouter, Response
from PIL import Image

from longclip.errors import ImageError, UsageError
from longclip.image.decode import decode_image, open_image
from longclip.search.database.schema import ID_PATTERN, Facts
from longclip.search.service.embedder import Pixels
from longclip.search.service.request_limits import PixelBudget, RequestError
from longclip.search.service.service import MAX_UPLOAD_PIXELS, Service
from longclip.search.sources.open_image_source import read_original

_ID = re.compile(ID_PATTERN)
_BROWSER_FORMATS = {
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
}
"""Formats that browsers show, by Pillow's names."""

_JPEG_QUALITY = 90
_CACHE_HEADERS = {"cache-control": "private, max-age=300"}


def images_router(service: Service) -> APIRouter:
    """Return the routes of thumbnails and originals."""
    router = APIRouter()

    # By id and never by path: a client reaches what is in the database and nothing else on disk.
    @router.get("/thumb/{id}", summary="A small JPEG", response_class=Response)
    def thumbnail(id: str) -> Response:
        content = service.store.thumbnail(id) if _ID.fullmatch(id) else None
        if not content:
            raise RequestError(404, "there is no such image in the database (any more)")
        return Response(content, media_type="image/jpeg", headers=_CACHE_HEADERS)

    @router.get("/image/{id}", summary="The original", response_class=Response)
    async def original(id: str) -> Response:
        facts, content = await service.reading(_read, service, id)
        shown, kind = await service.decoding(for_browser, content, facts, service.pixel_budget)
        name = quote(facts.name, safe="", errors="replace")
        disposition = {"content-disposition": f"inline; filename*=UTF-8''{name}"}
        return Response(shown, media_type=kind, headers=_CACHE_HEADERS | disposition)

    return router


def _read(service: Service, id: str) -> tuple[Facts, bytes]:
    facts = service.store.facts(id) if _ID.fullmatch(id) else None
    if facts is None:
        raise RequestError(404, "there is no such image in the database (any more)")
    try:
        # An address of the web would let whoever wrote the index make this machine, which may
        # stand behind a firewall, ask others for them.
        if facts.uri.startswith(("http://", "https://")):
            raise UsageError("addresses of the web are not followed")
        return facts, read_original(facts.uri)
    except (OSError, ValueError) as error:
        raise RequestError(
            404,
            f"{facts.name} cannot be read from where it was indexed any more; its thumbnail is "
            "still there",
        ) from error


def for_browser(content: bytes, facts: Facts, budget: PixelBudget) -> tuple[bytes, str]:
    """Return an image file that browsers show, and its type: as it is, or as a JPEG.

    Whatever has taken the place of the image since it was indexed is given out only if it is an
    image, too.

    Raises:
        RequestError: where it is none.
    """
    try:
        with open_image(io.BytesIO(content)) as image:
            kind = _BROWSER_FORMATS.get(image.format or "")
            pixels = image.width * image.height
        if kind:
            return content, kind
        file = io.BytesIO()
        with budget.room(pixels):
            decode_image(content).save(file, "JPEG", quality=_JPEG_QUALITY)
    except (ImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(
            404, f"{facts.name} can no longer be read as an image; its thumbnail is still there"
        ) from error
    return file.getvalue(), "image/jpeg"


_DATA_URL = re.compile(r"data:(?:image/|(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*,)", re.IGNORECASE)


def is_data_url(text: str) -> bool:
    """Return whether an input is a file and no text: `data:`, a type, if any, a comma."""
    return _DATA_URL.match(text) is not None


def pixels_of(service: Service, url: str, param: str) -> Pixels:
    """Return what the model reads of the picture in `data:image/…;base64,…`.

    The decoded picture is not kept: those of requests that wait would take all memory.

    What it is says its content; the type may be another one, or none. Lines may be broken.

    Raises:
        RequestError: where it is anything else; names `param`.
        longclip.errors.ImageError: where it is no usable image.
    """
    # Addresses are never fetched: clients could reach with them what only this machine can.
    head, _, data = url.partition(",")
    if not is_data_url(url) or not head.lower().endswith(";base64"):
        raise RequestError(
            400,
            f"{param}: send the image itself, as data:image/jpeg;base64,…; addresses of images "
            "are not followed",
            param=param,
        )
    try:
        content = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, f"{param}: not valid base64: {error}", param=param) from error
    try:
        with open_image(io.BytesIO(content)) as image:
            pixels = image.width * image.height
    except Exception:  # what is wrong is said below
        pixels = 0
    with service.pixel_budget.room(min(pixels, MAX_UPLOAD_PIXELS)):
        image = decode_image(content, max_pixels=MAX_UPLOAD_PIXELS)
        return service.embedder.pixels(image)
