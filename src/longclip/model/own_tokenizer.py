"""Choice of the tokenizer that belongs to a model, by its configuration and the files beside it."""

from longclip.errors import CheckpointError
from longclip.model.config import CLIPConfig
from longclip.spec import EOT
from longclip.text.file_tokenizer import FileTokenizer
from longclip.text.tokenizer import TextTokenizer, clip_tokenizer
from longclip.text.tokenizer_directory import TokenizerFiles


def own_tokenizer(config: CLIPConfig, files: TokenizerFiles | None, name: str) -> TextTokenizer:
    """Return the converter of texts to a model's ids: that of its files, else CLIP's.

    Raises:
        CheckpointError: if its vocabulary is not CLIP's, and its tokenizer is missing.
    """
    if files:
        return files.tokenizer
    if config.text and config.text.vocab_size <= EOT:
        raise CheckpointError(
            f"{name or 'this model'} has {config.text.vocab_size:,} tokens, fewer than CLIP's "
            "vocabulary, so CLIP's tokenizer is not its own; make it with the tokenizer_files of "
            "its own"
        )
    return clip_tokenizer()


def check_own_tokenizer(config: CLIPConfig, files: TokenizerFiles | None, name: str) -> None:
    """Check that texts can be read; else the first one would find out.

    Raises:
        CheckpointError: if the model's own tokenizer is missing, broken or another model's.
    """
    tokenizer = own_tokenizer(config, files, name)
    vocabulary = config.text.vocab_size if config.text else 0
    if isinstance(tokenizer, FileTokenizer) and tokenizer.largest_id >= vocabulary:
        assert files
        raise CheckpointError(
            f"the tokenizer in {files.origin} is another model's: it makes ids up to "
            f"{tokenizer.largest_id}, and this model has a vocabulary of {vocabulary} ids; fetch "
            "the one that belongs to it"
        )
