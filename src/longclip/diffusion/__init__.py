"""Long prompts for Stable Diffusion and SDXL pipelines of diffusers, with nothing retrained."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.diffusion.applying import apply, undo
    from longclip.diffusion.encoding import Conditioning, encode
    from longclip.diffusion.windows import PromptCut

_EXPORTS = {
    "Conditioning": "encoding",
    "PromptCut": "windows",
    "apply": "applying",
    "encode": "encoding",
    "undo": "applying",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["Conditioning", "PromptCut", "apply", "encode", "undo"]
