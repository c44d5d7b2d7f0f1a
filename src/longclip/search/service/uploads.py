"""Images that clients send: data URLs only, an address is never followed."""

import base64
import binascii

from PIL import Image

from longclip.inputs import decode_image
from longclip.search.service.errors import RequestError

LARGEST = 50_000_000
"""Pixels; clients are strangers, and several images may be decoded at once."""


def is_data_url(text: str) -> bool:
    """Whether an input is an image and no text."""
    return text[:11].lower() == "data:image/"


def decode_data_url(url: str, param: str) -> Image.Image:
    """The picture in `data:image/…;base64,…`, in RGB and upright.

    Raises:
        RequestError: where it is anything else; names `param`.
        longclip.inputs.ImageError: where it is no usable image.
    """
    head, _, data = url.partition(",")
    if not is_data_url(url) or not head.lower().endswith(";base64"):
        raise RequestError(
            400,
            f"{param}: send the image itself, as data:image/jpeg;base64,…; addresses of images "
            "are not followed",
            param=param,
        )
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, f"{param}: not valid base64: {error}", param=param) from error
    return decode_image(content, max_pixels=LARGEST)
