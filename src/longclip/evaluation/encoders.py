"""The former name of `longclip.encoders`, kept for code that uses it."""

from longclip.encoders.clip_encoder import CLIPEncoder as CLIPEncoder
from longclip.encoders.open import open_encoder as open_encoder
from longclip.encoders.precomputed import PrecomputedEncoder as PrecomputedEncoder
from longclip.evaluation.inputs import export_inputs as export_inputs
