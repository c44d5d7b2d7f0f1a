"""What goes into a CLIP: texts as token ids, images as pixels."""

from typing import TYPE_CHECKING

from longclip._lazy import export_lazily

if TYPE_CHECKING:
    from longclip.errors import ImageError as ImageError
    from longclip.inputs.images import decode_image as decode_image
    from longclip.inputs.preprocess import Preprocess as Preprocess
    from longclip.inputs.sentences import split_sentences as split_sentences
    from longclip.inputs.tokenizer import Tokenizer as Tokenizer
    from longclip.inputs.tokenizer import Truncation as Truncation
    from longclip.inputs.tokenizer import TruncationWarning as TruncationWarning
    from longclip.inputs.tokenizer import clean_text as clean_text
    from longclip.inputs.tokenizer import clip_tokenizer as clip_tokenizer
    from longclip.inputs.tokenizer import tokenize as tokenize
    from longclip.inputs.tokenizer import truncation as truncation
    from longclip.inputs.tokenizer_files import tokenizer_json as tokenizer_json
    from longclip.inputs.tokenizer_files import write_tokenizer_files as write_tokenizer_files

export_lazily(__name__)
