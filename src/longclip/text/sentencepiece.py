"""SentencePiece models (`spiece.model`, `sentencepiece.bpe.model`), read without its library.

The file is a protocol buffer: pieces with their scores, how it was trained, and how texts are
normalised. A Unigram model of it is computed by the `tokenizers` library; normalisation is done
here, since that library's own (`Precompiled`) goes by clusters of characters and loses some marks.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from longclip.errors import CheckpointError

MAX_PIECES = 2_000_000
"""Pieces of a model; XLM-V's has 901,629."""

MAX_CHARSMAP_BYTES = 16_000_000
"""Bytes of the rules that replace characters; NFKC's, the usual ones, have 240,000."""

HIDDEN = "\ufdd0\ufdd1"
"""What the names of pieces begin with that no text has in it: begin, end, padding, unknown."""

SPACE = "\u2581"
"""SentencePiece's sign for a space."""

_NORMAL, _UNKNOWN, _USER_DEFINED, _BYTE = 1, 2, 4, 6
_KINDS = {2: "BPE", 3: "words", 4: "characters"}
_MAX_CACHED = 100_000


@dataclass(frozen=True)
class Piece:
    """A word or a part of one."""

    text: str
    score: float
    kind: int


class Normalizer:
    """What is done to a text before its pieces are looked for.

    Args:
        path: of the model, for messages.
        charsmap: rules that replace characters, as the file has them; none where empty.
        verbatim: texts that no rule touches.
        add_dummy_prefix: begin texts with a space.
        remove_extra_whitespaces: take spaces away at both ends, and all but one between words.

    Attributes:
        digest: SHA-256 of all this.

    Raises:
        CheckpointError: if the rules are damaged.
    """

    def __init__(
        self,
        path: Path,
        charsmap: bytes,
        verbatim: list[str],
        *,
        add_dummy_prefix: bool,
        remove_extra_whitespaces: bool,
    ) -> None:
        self._path = path
        rules = [charsmap.hex(), sorted(verbatim), add_dummy_prefix, remove_extra_whitespaces]
        self.digest = hashlib.sha256(json.dumps(rules).encode()).hexdigest()
        self._prefix = SPACE if add_dummy_prefix else ""
        self._squeeze = remove_extra_whitespaces
        longest_first = sorted(map(re.escape, verbatim), key=len, reverse=True)
        self._verbatim = re.compile("|".join(longest_first)) if verbatim else None
        self._trie: tuple[int, ...] = ()
        self._replacements = b""
        self._cache: dict[str, str] = {}
        if charsmap:
            size = int.from_bytes(charsmap[:4], "little")
            if size % 4 or not 4 <= size <= min(len(charsmap) - 4, MAX_CHARSMAP_BYTES):
                raise self._damaged()
            self._trie = struct.unpack(f"<{size // 4}I", charsmap[4 : 4 + size])
            self._replacements = charsmap[4 + size :]

    def __call__(self, text: str) -> str:
        """Return a text with its characters replaced, and a sign for each space."""
        # A lone half of a surrogate pair is no character.
        text = text.encode("utf-8", "replace").decode("utf-8")
        if self._verbatim is None:
            body = self._replaced(text)
        else:
            parts, start = [], 0
            for match in self._verbatim.finditer(text):
                parts += [self._replaced(text[start : match.start()]), match[0]]
                start = match.end()
            body = "".join([*parts, self._replaced(text[start:])])
        if self._squeeze:
            body = re.sub(" +", " ", body).strip(" ")
        if not text or (self._squeeze and not body):
            return ""
        body = self._prefix + body.replace(" ", SPACE)
        return body.rstrip(SPACE) if self._squeeze else body

    def _replaced(self, text: str) -> str:
        """Replace at each place the longest run of characters that a rule is for."""
        if not self._trie:
            return text
        found, place, cache = [], 0, self._cache
        while place < len(text):
            pair = text[place : place + 2]
            if (known := cache.get(pair)) is not None:
                found.append(known)
                place += 1
                continue
            length, replacement, seen = self._longest(text[place : place + 32])
            found.append(replacement)
            place += length
            if length == 1 and seen < len(pair.encode()):
                if len(cache) >= _MAX_CACHED:
                    cache.clear()
                cache[pair] = replacement
        return "".join(found)

    def _longest(self, text: str) -> tuple[int, str, int]:
        """Return characters of the longest rule at the begin, what replaces them, and bytes seen.

        The rules are a double array (Aoe 1989): a state and a byte lead to the state of all rules
        that go on with it.
        """
        trie, data = self._trie, text.encode()
        best, offset = 0, 0
        state = _offset(trie[0])
        seen = 0
        for seen, byte in enumerate(data):
            state ^= byte
            # Every state has room for all bytes behind it.
            if state >= len(trie):
                raise self._damaged()
            if trie[state] & 0x800000FF != byte:
                break
            unit = trie[state]
            state ^= _offset(unit)
            if unit >> 8 & 1:
                if state >= len(trie):
                    raise self._damaged()
                best, offset = seen + 1, trie[state] & 0x7FFFFFFF
        else:
            seen = len(data)
        if not best:
            return 1, text[0], seen
        end = self._replacements.find(b"\0", offset)
        try:
            length = len(data[:best].decode())
            replacement = self._replacements[offset : end if end >= 0 else None].decode()
        except UnicodeDecodeError:
            raise self._damaged() from None
        return length, replacement, seen

    def _damaged(self) -> CheckpointError:
        return CheckpointError(f"{self._path}: its precompiled_charsmap is damaged; fetch it again")


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


@dataclass(frozen=True)
class SentencePieceModel:
    """A Unigram model: its pieces in the order of their ids, and its normalisation."""

    pieces: tuple[Piece, ...]
    normalize: Normalizer
    byte_fallback: bool

    def backend(self, fairseq: bool = False) -> RustTokenizer:
        """Return it as a tokenizer of texts that are normalised.

        Args:
            fairseq: give ids in the order of XLM-R and XLM-V: <s>, <pad>, </s>, <unk>, the pieces
                of the model but its first three, <mask>.
        """
        pieces = list(self.pieces)
        if fairseq:
            names = ("<s>", "<pad>", "</s>", "<unk>")
            special = [Piece(n, 0.0, _UNKNOWN if n == "<unk>" else 3) for n in names]
            pieces = [*special, *pieces[3:], Piece("<mask>", 0.0, 3)]
        vocabulary = []
        for piece in pieces:
            if piece.kind in (_NORMAL, _BYTE):
                vocabulary.append((piece.text, piece.score))
            elif piece.kind == _USER_DEFINED:
                # The best score there is: it is always preferred.
                vocabulary.append((piece.text, 0.0))
            else:
                vocabulary.append((HIDDEN + piece.text, 0.0))
        unknown = next(i for i, piece in enumerate(pieces) if piece.kind == _UNKNOWN)
        backend = RustTokenizer(models.Unigram(vocabulary, unknown, self.byte_fallback))
        if self.byte_fallback:
            # What is written as the name of a byte is text.
            backend.pre_tokenizer = pre_tokenizers.Split(
                Regex("<(?=0x[0-9A-F]{2}>)"), behavior="isolated"
            )
        backend.decoder = decoders.Sequence(
            [
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Replace(SPACE, " "),
                decoders.Strip(" ", 1, 0),
            ]
        )
        hidden = [text for text, _ in vocabulary if text.startswith(HIDDEN)]
        backend.add_special_tokens([AddedToken(text, normalized=False) for text in hidden])
        return backend


def read_model(path: Path, content: bytes) -> SentencePieceModel:
    """Read a SentencePiece model.

    Args:
        path: for messages.
        content: of the file.

    Raises:
        CheckpointError: if it is damaged, no Unigram model, or asks for what is not done here.
    """
    try:
        return _read(path, content)
    except (ValueError, IndexError, TypeError, struct.error) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is no SentencePiece model ({error}); fetch it again"
        ) from None


def _read(path: Path, content: bytes) -> SentencePieceModel:
    pieces: list[Piece] = []
    trained: dict[int, int | bytes] = {}
    normal: dict[int, int | bytes] = {}
    for number, value in _fields(content):
        if number == 1:
            fields = dict(_fields(_bytes(value)))
            [score] = struct.unpack("<f", _bytes(fields.get(2, b"\0\0\0\0")))
            text = _bytes(fields.get(1, b"")).decode()
            pieces.append(Piece(text, score, _int(fields.get(3, _NORMAL))))
            if len(pieces) > MAX_PIECES:
                raise ValueError(f"more than {MAX_PIECES:,} pieces")
        elif number == 2:
            trained |= dict(_fields(_bytes(value)))
        elif number == 3:
            normal |= dict(_fields(_bytes(value)))
    kind = _int(trained.get(3, 1))
    if kind != 1:
        raise CheckpointError(
            f"{path} is a model of {_KINDS.get(kind, f'kind {kind}')} (model_type of its "
            "trainer_spec), and only Unigram models are read from it; put the tokenizer.json of "
            "this model beside it"
        )
    for what, asked in (
        ("treat_whitespace_as_suffix is true", bool(trained.get(24, 0))),
        ("escape_whitespaces is false", not normal.get(5, 1)),
    ):
        if asked:
            raise CheckpointError(
                f"{path}: {what}, which is not done here; put the tokenizer.json of this model "
                "beside it"
            )
    if sum(piece.kind == _UNKNOWN for piece in pieces) != 1:
        raise ValueError("it has not one piece for what is unknown")
    if any(not -1e9 < piece.score < 1e9 for piece in pieces):
        raise ValueError("a score is no finite number")
    if len({piece.text for piece in pieces}) != len(pieces) or any(not p.text for p in pieces):
        raise ValueError("a piece is empty or there twice")
    normalizer = Normalizer(
        path,
        _bytes(normal.get(2, b"")),
        [piece.text for piece in pieces if piece.kind == _USER_DEFINED],
        add_dummy_prefix=bool(normal.get(3, 1)),
        remove_extra_whitespaces=bool(normal.get(4, 1)),
    )
    return SentencePieceModel(tuple(pieces), normalizer, bool(trained.get(35, 0)))


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a protocol buffer's message.

    Raises:
        ValueError: if it ends in the middle of one.
    """
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        wire = key & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield key >> 3, value
            continue
        if wire == 2:
            length, place = _varint(content, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of kind {wire}")
        if length > len(content) - place:
            raise ValueError("it breaks off")
        yield key >> 3, content[place : place + length]
        place += length


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise ValueError("it breaks off")
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number is too long")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where a text should be")
    return value


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise TypeError("a text where a number should be")
    return value
