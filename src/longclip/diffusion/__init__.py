"""Long prompts for Stable Diffusion and SDXL pipelines of diffusers, with nothing retrained."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.diffusion.conditioning import Conditioning as Conditioning
    from longclip.diffusion.conditioning import encode as encode
    from longclip.diffusion.patch import apply as apply
    from longclip.diffusion.patch import undo as undo
    from longclip.diffusion.pictures import read_facts as read_facts
    from longclip.diffusion.windows import PromptCut as PromptCut

export_lazily(__name__)
