"""The network: configuration, the two towers, stretching, loading and saving."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.model.clip import CLIP as CLIP
    from longclip.model.config import CLIPConfig as CLIPConfig
    from longclip.model.config import TextConfig as TextConfig
    from longclip.model.config import VisionConfig as VisionConfig
    from longclip.model.pretrained import load as load
    from longclip.model.pretrained import save as save

export_lazily(__name__)
