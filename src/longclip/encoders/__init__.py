"""Encoders: the protocol, our models, those of other libraries, of arrays and of plug-ins."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.encoders.clip_encoder import CLIPEncoder as CLIPEncoder
    from longclip.encoders.encoder import Encoder as Encoder
    from longclip.encoders.open import open_encoder as open_encoder
    from longclip.encoders.precomputed import PrecomputedEncoder as PrecomputedEncoder

export_lazily(__name__)
