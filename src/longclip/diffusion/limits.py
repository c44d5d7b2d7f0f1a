"""Prompts that are longer than an encoder reads: what is cut, said once and clearly."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from longclip.diffusion.windows import PromptCut


@dataclass(frozen=True)
class Cut:
    """A text that is too long for a tokenizer.

    Attributes:
        tokens: how many it has, begin and end of text included.
        limit: how many are read.
        lost: what is not read, as the tokenizer writes it (lower case).
    """

    tokens: int
    limit: int
    lost: str


def find_cuts(tokenizer: Any, texts: Sequence[str]) -> list[Cut]:
    """What a tokenizer cuts off texts; nothing of those that fit."""
    limit = int(tokenizer.model_max_length)
    cuts = []
    for ids in tokenizer(list(texts), verbose=False).input_ids:
        if len(ids) > limit:
            # The last token that is read is the end of text, and so is the last of all.
            lost = tokenizer.decode(ids[limit - 1 : -1])
            # Some versions of transformers leave CLIP's sign for the end of a word in.
            lost = " ".join(lost.replace("</w>", " ").split())
            cuts.append(Cut(len(ids), limit, lost))
    return cuts


def warn_of_cuts(cuts: Sequence[Cut], *, remedy: str, stacklevel: int = 2) -> None:
    """One PromptCut for all cuts of a call; encoders that cut the same are named once."""
    if not cuts:
        return
    lines = [
        f"{cut.tokens} tokens, of which {cut.limit} are read; cut off: {cut.lost!r}"
        for cut in dict.fromkeys(cuts)
    ]
    message = "a prompt is too long for its text encoder: " + "; and ".join(lines)
    warnings.warn(f"{message}. {remedy}", PromptCut, stacklevel=stacklevel + 1)


@contextmanager
def quiet_about_cuts(*modules: str) -> Iterator[None]:
    """Keeps back the log lines about too long texts, of diffusers modules and of transformers.

    They come once per encoder and speak of what PromptCut has said.
    """
    names = [*modules, "transformers.tokenization_utils_base"]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(_not_about_cuts)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_not_about_cuts)


def _not_about_cuts(record: logging.LogRecord) -> bool:
    about = ("The following part of your input was truncated", "Token indices sequence length")
    return not record.getMessage().startswith(about)
