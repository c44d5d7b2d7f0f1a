"""diffusers and transformers: whether they are there, and how they are kept from talking."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars and no advice while something is imported or loaded."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # before diffusers is imported, which says what it does without
    logging_of_diffusers: Any = importlib.import_module("diffusers.utils.logging")
    logging.disable_progress_bar()
    logging_of_diffusers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Its new name, `dtype`, is not known to diffusers 0.35.
            warnings.filterwarnings("ignore", message=".*torch_dtype.*")
            yield
    finally:
        logging.set_verbosity(verbosity)
        logging_of_diffusers.enable_progress_bar()
        if shown:
            logging.enable_progress_bar()
