"""Every error that speaks to a user, under one base class.

The command line prints these, and the operating system's errors, as one line. Anything else is a
bug in longclip or below it and keeps its traceback. Errors about what a caller handed over are
`ValueError`s too, so that the Python API raises what Python's own functions would.
"""


class LongCLIPError(Exception):
    """An error whose message names what is wrong and what to do about it."""

    exit_code = 1
    """Exit status of a command that ends with this error."""


class UsageError(LongCLIPError, ValueError):
    """An argument, an option or a combination of them that cannot be honoured."""


class CheckpointError(LongCLIPError, ValueError):
    """A checkpoint that cannot be read or written; the message names the file."""


class DataError(LongCLIPError, ValueError):
    """Data that cannot be read; the message names the path or the column."""


class FetchError(DataError):
    """Data that could not be fetched from another machine."""


class ImageError(LongCLIPError, ValueError):
    """An image that cannot be used; the message names it and the reason."""


class RetryableImageError(ImageError):
    """An image that may be usable with other settings, or at another time."""


class MissingDecoderError(RetryableImageError):
    """An image that needs a package to be decoded; the message names the package."""


class EncoderError(LongCLIPError, ValueError):
    """An encoder that cannot be opened or gives no usable embeddings."""


class MissingWeightsError(LongCLIPError, ValueError):
    """Weights that are not on this machine; the message says how to get them."""


class SearchError(LongCLIPError, ValueError):
    """A database, a model or a query that cannot be used."""


class UnreadableError(SearchError):
    """A database whose files cannot be read, whatever is asked of it."""


class FilterError(SearchError):
    """A filter that is no condition on the columns of the database."""


class TrainingError(LongCLIPError, RuntimeError):
    """A run that had to stop; what it had done is kept in its directory."""


class Preempted(LongCLIPError, RuntimeError):
    """A run that was asked to stop; its checkpoint is written and `--resume` continues it."""

    exit_code = 75
    """`EX_TEMPFAIL` of sysexits.h: try again later."""
