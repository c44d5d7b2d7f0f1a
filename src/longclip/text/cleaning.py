"""Cleaning of texts that a model's configuration asks for, and no file of a tokenizer expresses."""

import re
import string
from collections.abc import Callable, Mapping
from typing import Literal

from longclip.text.tokenizer import repair_text

Step = Literal["repair", "spaces", "lower", "canonicalize"]
"""A step of cleaning a text: mojibake and HTML entities (as `clean_text`), runs of whitespace,
lower-casing (SigLIP 2), or SigLIP's canonical form."""

Cleaning = tuple[Step, ...]
"""Steps in their order, before the file's own normalisation."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def canonicalize(text: str) -> str:
    """Return a text in SigLIP's canonical form: no ASCII punctuation, lower case, single spaces.

    Zhai et al. 2023, published code (big_vision, `_canonicalize_string` of its tokenization).
    """
    text = text.replace("_", " ").translate(_PUNCTUATION).lower()
    return re.sub(r"\s+", " ", text).strip()


STEPS: Mapping[Step, Callable[[str], str]] = {
    "repair": repair_text,
    "spaces": lambda text: " ".join(text.split()),
    "lower": str.lower,
    "canonicalize": canonicalize,
}
"""What each step does to a text."""
