"""Encoders of other libraries, of arrays, and of anybody who plugs one in."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.evaluation.encoders.identity import fingerprint
    from longclip.evaluation.encoders.opening import open_encoder
    from longclip.evaluation.encoders.own import CLIPEncoder
    from longclip.evaluation.encoders.precomputed import (
        ExportedInputs,
        PrecomputedEncoder,
        export_inputs,
    )

_EXPORTS = {
    "CLIPEncoder": "own",
    "ExportedInputs": "precomputed",
    "PrecomputedEncoder": "precomputed",
    "export_inputs": "precomputed",
    "fingerprint": "identity",
    "open_encoder": "opening",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "CLIPEncoder",
    "ExportedInputs",
    "PrecomputedEncoder",
    "export_inputs",
    "fingerprint",
    "open_encoder",
]
