"""Encoders: the protocol, our models, those of other libraries, of arrays and of plug-ins."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.evaluation.encoders.encoder import CLIPEncoder as CLIPEncoder
    from longclip.evaluation.encoders.encoder import open_encoder as open_encoder
    from longclip.evaluation.encoders.precomputed import PrecomputedEncoder as PrecomputedEncoder
    from longclip.evaluation.encoders.precomputed import export_inputs as export_inputs

export_lazily(__name__)
