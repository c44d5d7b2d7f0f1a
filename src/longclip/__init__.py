"""Lengthen the text side of a CLIP, fine-tune it, measure it and use it: Long-CLIP.

Importing this package is cheap: torch and other heavy libraries are loaded on first use of a name.
"""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

__version__ = "0.1.0"

if TYPE_CHECKING:
    from longclip import checkpoints as checkpoints
    from longclip import data as data
    from longclip import diffusion as diffusion
    from longclip import encoders as encoders
    from longclip import errors as errors
    from longclip import evaluation as evaluation
    from longclip import losses as losses
    from longclip import model as model
    from longclip import objectives as objectives
    from longclip import scenes as scenes
    from longclip import search as search
    from longclip import training as training
    from longclip.checkpoints.catalogue import known_models as known_models
    from longclip.encoders.engines import load as load
    from longclip.errors import LongCLIPError as LongCLIPError
    from longclip.model import CLIP as CLIP
    from longclip.model import save as save
    from longclip.model.average import average as average
    from longclip.model.stretch import stretch as stretch
    from longclip.text.tokenizer import tokenize as tokenize

export_lazily(__name__, "__version__")
