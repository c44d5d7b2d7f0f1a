"""Images: files decoded to RGB, and RGB to the pixels a model reads."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.errors import ImageError as ImageError
    from longclip.image.decode import decode_image as decode_image
    from longclip.image.preprocess import Preprocess as Preprocess

export_lazily(__name__)
