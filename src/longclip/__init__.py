"""Any CLIP in, a stock CLIP with long text out.

Importing this package is cheap: torch and everything else heavy is loaded on first use of a name.
"""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

__version__ = "0.1.0"

if TYPE_CHECKING:
    from longclip import (
        checkpoints,
        data,
        diffusion,
        evaluation,
        inputs,
        losses,
        model,
        objectives,
        scenes,
        search,
        training,
    )
    from longclip.inputs import tokenize
    from longclip.model import CLIP, load, save
    from longclip.model.average import average
    from longclip.model.stretch import stretch

_EXPORTS = {
    "CLIP": "model",
    "average": "model.average",
    "load": "model",
    "save": "model",
    "stretch": "model.stretch",
    "tokenize": "inputs",
    **dict.fromkeys(
        (
            "checkpoints",
            "data",
            "diffusion",
            "evaluation",
            "inputs",
            "losses",
            "model",
            "objectives",
            "scenes",
            "search",
            "training",
        ),
        "",
    ),
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "CLIP",
    "__version__",
    "average",
    "checkpoints",
    "data",
    "diffusion",
    "evaluation",
    "inputs",
    "load",
    "losses",
    "model",
    "objectives",
    "save",
    "scenes",
    "search",
    "stretch",
    "tokenize",
    "training",
]
