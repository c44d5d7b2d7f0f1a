"""Tokenizer of a model with a vocabulary of its own, whatever files it was read from."""

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from longclip.errors import CheckpointError, UsageError
from longclip.text.cleaning import STEPS, Cleaning
from longclip.text.sentencepiece import HIDDEN, SPACE, Normalizer
from longclip.text.tokenizer import cut_ids, list_of_texts

_NO_MEANING = ("version", "truncation", "padding", "post_processor", "decoder")
"""Parts of a tokenizer.json that a text's own ids do not depend on."""


class FileTokenizer:
    """Converter of texts to the ids of one model.

    Args:
        backend: the file's tokenizer.
        cleaning: of texts before all else.
        begin: ids before each text; with None, what the file puts there.
        end: ids behind each text; with None, what the file puts there.
        normalize: what else is done to texts before the backend gets them.
    """

    def __init__(
        self,
        backend: RustTokenizer,
        cleaning: Cleaning = (),
        begin: Sequence[int] | None = None,
        end: Sequence[int] | None = None,
        normalize: Normalizer | None = None,
    ) -> None:
        self._backend = backend
        # Files may cut and pad to the length that their model once had.
        backend.no_truncation()
        backend.no_padding()
        # What is written in a text is text, also where it looks like a special token. A Unigram
        # model has those among its words all the same, so they are taken apart as well.
        backend.encode_special_tokens = True
        added = backend.get_added_tokens_decoder().values()
        special = [re.escape(str(t.content)) for t in added if t.special and len(t.content) > 1]
        self._special = re.compile("|".join(special) or r"(?!)")
        self._cleaning = cleaning
        self._normalize = normalize
        own_begin, own_end = _around(backend)
        self._begin = list(own_begin if begin is None else begin)
        self._end = list(own_end if end is None else end)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._backend.get_vocab_size()

    @functools.cached_property
    def largest_id(self) -> int:
        """Largest id that a text can have."""
        # Special tokens that are never made of a text need no embedding.
        added = self._backend.get_added_tokens_decoder()
        special = {id for id, token in added.items() if token.special}
        own = (id for id in self._backend.get_vocab().values() if id not in special)
        return max(max(own, default=0), *self._begin, *self._end)

    @property
    def special_tokens(self) -> int:
        """Number of ids that every text gets beside its own."""
        return len(self._begin) + len(self._end)

    @property
    def end_tokens(self) -> int:
        """Number of them at its end."""
        return len(self._end)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all that ids depend on: the same for files that are written otherwise.

        The library reads files of any age, and writes all fields there are. Those that are off are
        left out, so that a version with more of them gives the same.
        """
        meaning = json.loads(self._backend.to_str(), object_hook=_without_what_is_off)
        for part in _NO_MEANING:
            meaning.pop(part, None)
        whole = [meaning, self._cleaning, self._begin, self._end]
        whole += [self._normalize.digest] if self._normalize else []
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def encode(self, texts: Sequence[str], *, context_length: int | None = None) -> list[list[int]]:
        """Return one list of ids per text, with what the model wants at its begin and end.

        A text that needs more than `context_length` ids is cut and keeps that end.

        Raises:
            UsageError: if `texts` is not a sequence of strings, or the context leaves no room.
        """
        if context_length is not None and context_length <= self.special_tokens:
            raise UsageError(
                f"a context of {context_length} tokens leaves no room between the "
                f"{self.special_tokens} special ones of this model"
            )
        cleaned = list_of_texts(texts)
        for step in self._cleaning:
            cleaned = list(map(STEPS[step], cleaned))
        cleaned = [self._special.sub(lambda m: f"{m[0][0]} {m[0][1:]}", text) for text in cleaned]
        if self._normalize:
            cleaned = list(map(self._normalize, cleaned))
        encoded = self._backend.encode_batch_fast(cleaned, add_special_tokens=False)
        whole = [[*self._begin, *encoding.ids, *self._end] for encoding in encoded]
        if context_length is None:
            return whole
        return [cut_ids(ids, context_length, len(self._end)) for ids in whole]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the cleaned text that `ids` stand for, without special tokens."""
        text: str = self._backend.decode([*ids], skip_special_tokens=True)
        return text

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return one printable string per id.

        Raises:
            UsageError: if an id is not in the vocabulary.
        """
        found = []
        for id in ids:
            piece = self._backend.id_to_token(id)
            if piece is None:
                raise UsageError(
                    f"token id {id} is not in this vocabulary of {self.vocab_size} ids"
                )
            found.append(piece.removeprefix(HIDDEN).replace(SPACE, " "))
        return found


def _without_what_is_off(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in values.items()
        if value not in (None, "", []) and value is not False
    }


def _around(backend: RustTokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that a file puts before and behind each text."""
    own = backend.encode("a", add_special_tokens=False).ids
    whole = backend.encode("a", add_special_tokens=True).ids
    for start in range(len(whole) - len(own) + 1):
        if whole[start : start + len(own)] == own:
            return whole[:start], whole[start + len(own) :]
    raise CheckpointError("its post-processor changes a text's own tokens")
