"""CLIP's image preprocessing on Pillow and numpy.

The published weights were trained and evaluated on torchvision's transforms of Pillow images, which
are Pillow's bicubic filter and a little integer arithmetic. Both are repeated here to the pixel.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import ImageError, UsageError
from longclip.image.decode import decode_image

if TYPE_CHECKING:
    import torch

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_BICUBIC = Image.Resampling.BICUBIC
_FILTERS: Mapping[Literal["bicubic", "bilinear"], Image.Resampling] = {
    "bicubic": _BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_HALF = [0.5, 0.5, 0.5]
_DECISIVE = {"do_center_crop", "size", "image_mean", "image_std", "resample"}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "CLIP": {},
    "Siglip": {"image_mean": _HALF, "image_std": _HALF},
    "ViT": {"image_mean": _HALF, "image_std": _HALF, "resample": 2},
}
"""What processors of transformers do without being told, where it is not what CLIP's does."""
# A sliver of 1 x 50,000 pixels would be enlarged to gigabytes before its centre is cut out.
_MAX_RESIZED_PIXELS = 50_000_000


@dataclass(frozen=True)
class Preprocess:
    """Resize, centre crop and normalization of one CLIP.

    Attributes:
        image_size: side of the square that the image tower sees, in pixels.
        resize: "shortest" resizes the short side and crops the centre; "squash" resizes both sides,
            whatever shape the picture has (SigLIP, PE).
        interpolation: filter of resizing, Pillow's of that name.
        mean: mean per channel (R, G, B) of pixels scaled to 0 … 1.
        std: standard deviation per channel of the same.
    """

    image_size: int = 224
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise UsageError(f"image_size is {self.image_size}; it must be at least 1 pixel")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise UsageError(
                f"mean {self.mean} and std {self.std} need three values each (R, G, B)"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise UsageError(f"mean {self.mean} and std {self.std} must be finite, and std above 0")

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the centre of the picture, uint8 [image_size, image_size, 3].

        The short side, or both, are resized to `image_size` with Pillow's filter. Pictures that
        are not plain RGB go through `decode_image` first.

        Raises:
            ImageError: if the picture cannot be used, or is a thousand times longer than wide.
        """
        image = decode_image(image)
        filter_ = _FILTERS[self.interpolation]
        if self.resize == "squash":
            return np.asarray(image.resize((self.image_size, self.image_size), filter_))
        # torchvision's arithmetic: the long side is cut to whole pixels, not rounded.
        short = min(image.size)
        width, height = (int(self.image_size * side / short) for side in image.size)
        if width * height > _MAX_RESIZED_PIXELS:
            raise ImageError(
                f"an image of {image.width} x {image.height} pixels is too narrow for a square "
                "crop; leave it out"
            )
        image = image.resize((width, height), filter_)
        # Python rounds halves to even, and so does torchvision here; transformers rounds down.
        left = round((width - self.image_size) / 2)
        top = round((height - self.image_size) / 2)
        return np.asarray(image.crop((left, top, left + self.image_size, top + self.image_size)))

    def __call__(self, image: Image.Image) -> "torch.Tensor":
        """Return the image tower's input for one picture: float32 [3, image_size, image_size]."""
        import torch

        pixels_HWC = torch.from_numpy(self.pixels(image).copy())
        return self.normalize(pixels_HWC.permute(2, 0, 1)[None])[0]

    def normalize(self, pixels_NCHW: "torch.Tensor") -> "torch.Tensor":
        """Normalize uint8 [N, 3, H, W] to float32 on the same device: (x / 255 − mean) / std."""
        import torch

        if pixels_NCHW.dtype != torch.uint8 or pixels_NCHW.ndim != 4 or pixels_NCHW.shape[1] != 3:
            raise UsageError(
                f"normalize takes uint8 [N, 3, H, W], not {pixels_NCHW.dtype} "
                f"{list(pixels_NCHW.shape)}; permute [N, H, W, 3] with .permute(0, 3, 1, 2)"
            )
        mean_C11, std_C11 = (
            torch.tensor(values, device=pixels_NCHW.device).view(3, 1, 1)
            for values in (self.mean, self.std)
        )
        return pixels_NCHW.float().div_(255).sub_(mean_C11).div_(std_C11).contiguous()

    def to_json(self) -> dict[str, Any]:
        """Return the content of Hugging Face's preprocessor_config.json."""
        square = {"height": self.image_size, "width": self.image_size}
        cropped = self.resize == "shortest"
        return {
            **({"crop_size": square} if cropped else {}),
            "do_center_crop": cropped,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": list(self.mean),
            "image_processor_type": "CLIPImageProcessor",
            "image_std": list(self.std),
            "resample": int(_FILTERS[self.interpolation]),
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": self.image_size} if cropped else square,
        }

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "Preprocess":
        """Read the content of a preprocessor_config.json.

        What is missing has the default of the processor that it names: CLIP's, SigLIP's or ViT's.

        Raises:
            ValueError: if it asks for anything but resize, centre crop and normalization of a
                square, naming the entry.
        """
        kind = str(
            config.get("image_processor_type") or config.get("feature_extractor_type") or "CLIP"
        )
        family = next((name for name in _DEFAULTS if kind.startswith(name)), None)
        if family is None and (missing := sorted(_DECISIVE - config.keys())):
            raise UsageError(
                f"preprocessor_config.json: {kind} is not known here, and what it does without "
                f"being told neither: {', '.join(missing)} must be stated"
            )
        # These processors know no crop, and resize to a square where a size is one number.
        siglip = family in ("Siglip", "ViT")
        if siglip and config.get("do_center_crop"):
            raise UsageError(
                f"preprocessor_config.json: do_center_crop is true, and {kind} cuts nothing; "
                "take the entry out, or name CLIPImageProcessor"
            )
        config = {**_DEFAULTS.get(family or "", {}), **config}
        squash = siglip or not config.get("do_center_crop", True)
        size = config.get("size", 224)
        crop_size: Any
        if squash:
            sides = {*size.values()} if isinstance(size, Mapping) else {size if siglip else None}
            side = sides.pop() if len(sides) == 1 else None
            if not isinstance(side, int) or (isinstance(size, Mapping) and "height" not in size):
                raise UsageError(
                    f"preprocessor_config.json: do_center_crop is False and size {size} no square; "
                    "say it as height and width, which are the same"
                )
            size, crop_size = side, side
        else:
            crop_size = config.get("crop_size", size)
            if isinstance(size, Mapping):
                size = size.get("shortest_edge")
            if isinstance(crop_size, Mapping):
                same = len({*crop_size.values()}) == 1
                crop_size = crop_size.get("height") if same else crop_size
        if not isinstance(size, int) or size != crop_size:
            raise UsageError(
                f"preprocessor_config.json: size {config.get('size')} and crop_size "
                f"{config.get('crop_size')} are not the same square; CLIP resizes the shortest "
                "edge and crops the centre"
            )
        filters = {int(number): name for name, number in _FILTERS.items()}
        preprocess = cls(
            image_size=size,
            resize="squash" if squash else "shortest",
            interpolation=filters.get(config.get("resample", _BICUBIC), "bicubic"),
            mean=tuple(config.get("image_mean", OPENAI_MEAN)),
            std=tuple(config.get("image_std", OPENAI_STD)),
        )
        for entry, needed in preprocess.to_json().items():
            is_switch = entry.startswith("do_") or entry in ("resample", "rescale_factor")
            if is_switch and config.get(entry, needed) != needed:
                raise UsageError(
                    f"preprocessor_config.json: {entry} is {config[entry]}, CLIP's preprocessing "
                    f"needs {needed}"
                )
        return preprocess
