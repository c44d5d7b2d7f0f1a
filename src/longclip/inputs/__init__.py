"""What goes into a CLIP: texts as token ids, images as pixels."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip.errors import ImageError  # noqa: F401 (kept importable from here)

if TYPE_CHECKING:
    from longclip.inputs.cleaning import clean_text
    from longclip.inputs.images import decode_image
    from longclip.inputs.preprocess import Preprocess
    from longclip.inputs.sentences import published_short_caption, short_caption, split_sentences
    from longclip.inputs.tokenizer import (
        Tokenizer,
        Truncation,
        TruncationWarning,
        clip_tokenizer,
        tokenize,
        truncation,
    )
    from longclip.inputs.tokenizer_files import tokenizer_json, write_tokenizer_files

_EXPORTS = {
    "Preprocess": "preprocess",
    "Tokenizer": "tokenizer",
    "Truncation": "tokenizer",
    "TruncationWarning": "tokenizer",
    "clean_text": "cleaning",
    "clip_tokenizer": "tokenizer",
    "decode_image": "images",
    "published_short_caption": "sentences",
    "short_caption": "sentences",
    "split_sentences": "sentences",
    "tokenize": "tokenizer",
    "tokenizer_json": "tokenizer_files",
    "truncation": "tokenizer",
    "write_tokenizer_files": "tokenizer_files",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "Preprocess",
    "Tokenizer",
    "Truncation",
    "TruncationWarning",
    "clean_text",
    "clip_tokenizer",
    "decode_image",
    "published_short_caption",
    "short_caption",
    "split_sentences",
    "tokenize",
    "tokenizer_json",
    "truncation",
    "write_tokenizer_files",
]
