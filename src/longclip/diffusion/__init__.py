"""Long prompts for Stable Diffusion and SDXL pipelines of diffusers, with nothing retrained."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.diffusion.conditioning import Conditioning, encode
    from longclip.diffusion.patch import apply, undo
    from longclip.diffusion.pictures import read_facts
    from longclip.diffusion.windows import PromptCut

_EXPORTS = {
    "Conditioning": "conditioning",
    "PromptCut": "windows",
    "apply": "patch",
    "encode": "conditioning",
    "read_facts": "pictures",
    "undo": "patch",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["Conditioning", "PromptCut", "apply", "encode", "read_facts", "undo"]
