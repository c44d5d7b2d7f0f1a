"""The network: configuration, the two towers, stretching, loading and saving."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.model.clip import CLIP
    from longclip.model.config import CLIPConfig, TextConfig, VisionConfig
    from longclip.model.pretrained import load, save

_EXPORTS = {
    "CLIP": "clip",
    "CLIPConfig": "config",
    "TextConfig": "config",
    "VisionConfig": "config",
    "load": "pretrained",
    "save": "pretrained",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "CLIP",
    "CLIPConfig",
    "TextConfig",
    "VisionConfig",
    "load",
    "save",
]
