"""Texts: token ids, sentences, and where a number of tokens ends."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.text.sentences import split_sentences as split_sentences
    from longclip.text.tokenizer import Tokenizer as Tokenizer
    from longclip.text.tokenizer import Truncation as Truncation
    from longclip.text.tokenizer import TruncationWarning as TruncationWarning
    from longclip.text.tokenizer import clean_text as clean_text
    from longclip.text.tokenizer import clip_tokenizer as clip_tokenizer
    from longclip.text.tokenizer import tokenize as tokenize
    from longclip.text.tokenizer import truncation as truncation
    from longclip.text.tokenizer_files import tokenizer_json as tokenizer_json
    from longclip.text.tokenizer_files import write_tokenizer_files as write_tokenizer_files

export_lazily(__name__)
