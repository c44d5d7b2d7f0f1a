"""Tokenizers of models with vocabularies of their own, read from the files beside their weights.

`tokenizer.json` is the format of the `tokenizers` library (BPE, Unigram, WordPiece). Where it is
missing, the same is made of what older directories hold: a SentencePiece model, or vocab.json and
merges.txt as CLIP's tokenizer has them. What no such file expresses, as SigLIP's cleaning of texts,
is known by the model's configuration.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from longclip.errors import CheckpointError
from longclip.spec import EOT
from longclip.text.cleaning import Cleaning
from longclip.text.file_tokenizer import FileTokenizer
from longclip.text.sentencepiece import HIDDEN, read_model
from longclip.text.tokenizer import BOS_TOKEN, EOT_TOKEN, clip_vocabulary
from longclip.text.tokenizer_files import clips_backend
from longclip.util.regular_files import read_regular

TOKENIZER = "tokenizer.json"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
CONFIG = "tokenizer_config.json"

SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""Names of SentencePiece models beside a model."""

_SIGLIP = "SiglipTokenizer"
# Classes of transformers whose SentencePiece model is read, with what is put around texts.
_AROUND: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "T5Tokenizer": ((), ("</s>",)),
    "MT5Tokenizer": ((), ("</s>",)),
    _SIGLIP: ((), ("</s>",)),
    "XLMRobertaTokenizer": (("<s>",), ("</s>",)),
}
_USUAL_CLASSES = {"spiece.model": "T5Tokenizer", "sentencepiece.bpe.model": "XLMRobertaTokenizer"}

FILES = (
    TOKENIZER,
    CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    *SENTENCEPIECE,
    VOCABULARY,
    "vocab.txt",
    MERGES,
)
"""Files of a tokenizer beside a model, which are carried along as they are."""

VOCABULARIES = (TOKENIZER, *SENTENCEPIECE, VOCABULARY, "vocab.txt")
"""Those of them that have the words of a vocabulary in them, each of another kind."""

MAX_FILE_BYTES = 200_000_000
"""Bytes of a tokenizer.json; that of XLM-V, with 901,629 tokens, has some 60 MB."""


@dataclass(frozen=True)
class TokenizerFiles:
    """Files of a model's own tokenizer, of which a tokenizer is made when the first text comes.

    Attributes:
        origin: directory that they were read from, for messages.
        contents: the files by their names.
        cleaning: of texts before all else.
        absence: why there is no tokenizer among them, where that is known.
    """

    origin: Path
    contents: Mapping[str, bytes]
    cleaning: Cleaning = ()
    absence: str = ""

    @property
    def readable(self) -> bool:
        """Return whether there is a file with a vocabulary among them."""
        return not self.contents.keys().isdisjoint(VOCABULARIES)

    @functools.cached_property
    def tokenizer(self) -> FileTokenizer:
        """The tokenizer.

        Raises:
            CheckpointError: if it is missing or broken.
        """
        return _open(self)

    def special_id(self, kind: str) -> int | None:
        """Return the id of a special token ("pad", "eos" …) that tokenizer_config.json names.

        None where it does not say. The id is there as well, or in tokenizer.json.
        """
        config = self._config()
        token = _content(config.get(f"{kind}_token"))
        known = config.get("added_tokens_decoder")
        if isinstance(token, str) and isinstance(known, dict):
            for id, entry in known.items():
                if _content(entry) == token and str(id).isdecimal():
                    return int(id)
        if not isinstance(token, str) or TOKENIZER not in self.contents:
            return None
        try:
            found = RustTokenizer.from_buffer(self.contents[TOKENIZER]).token_to_id(token)
        except Exception:  # the library raises nothing narrower; the first text tells
            return None
        return None if found is None else int(found)

    def _config(self) -> dict[str, Any]:
        """Return tokenizer_config.json; nothing where it is missing.

        Raises:
            CheckpointError: if it is no JSON object.
        """
        path = self.origin / CONFIG
        try:
            config = json.loads(self.contents.get(CONFIG, b"{}"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from None
        if not isinstance(config, dict):
            raise CheckpointError(f"{path} holds no JSON object; fetch it again")
        return config

    def contents_for(self, context_length: int) -> dict[str, bytes]:
        """Return the files by their names, saying how many tokens the model reads."""
        files = dict(self.contents)
        if CONFIG in files:
            config = {**self._config(), "model_max_length": context_length}
            files[CONFIG] = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
        return files

    def __deepcopy__(self, memo: object) -> "TokenizerFiles":
        return self


def tokenizer_files(folder: Path, cleaning: Cleaning = ()) -> TokenizerFiles:
    """Read the files of a tokenizer that lie beside a model, if there are any.

    Raises:
        OSError: if one cannot be read.
    """
    paths = (folder / name for name in FILES)
    contents = {p.name: read_regular(p, MAX_FILE_BYTES) for p in paths if p.is_file()}
    return TokenizerFiles(folder, contents, cleaning)


def tokenizer_beside(folder: Path, vocabulary: int) -> TokenizerFiles | None:
    """Read the tokenizer beside weights; None where it is CLIP's.

    It is CLIP's where the files say so, and where there are none, by the number of tokens alone.
    Without its files a model with another vocabulary is lengthened and converted all the same, and
    its texts are refused.

    Args:
        folder: of the weights.
        vocabulary: rows of the model's table of tokens.

    Raises:
        OSError: if a file cannot be read.
    """
    files = tokenizer_files(folder)
    # Rows may have been added to CLIP's, and none can be missing.
    if vocabulary > EOT and is_clips(files):
        return None
    if vocabulary == EOT + 1 and not files.readable:
        return None
    return files


_CLIPS = {
    "f6b941727692486a6dc02d10b6abffd0e704d0102d8d54554f3232311a950536",
    "3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69",
}
"""Hashes of CLIP's own tokenizer.json and vocab.json as this package writes them, which need not be
read: that takes longer than all the rest of opening a model."""


def is_clips(files: TokenizerFiles) -> bool:
    """Return whether a tokenizer has CLIP's vocabulary, but for a hundredth of it at most.

    Then CLIP's own does better than the file, which repairs no texts and may have been damaged.
    """
    name = TOKENIZER if TOKENIZER in files.contents else VOCABULARY
    if hashlib.sha256(files.contents.get(name, b"")).hexdigest() in _CLIPS:
        return True
    try:
        if TOKENIZER in files.contents:
            model = json.loads(files.contents[TOKENIZER]).get("model")
            vocabulary = model.get("vocab") if isinstance(model, dict) else None
        else:
            vocabulary = json.loads(files.contents[VOCABULARY])
    except (KeyError, ValueError, RecursionError, AttributeError):
        return False
    if not isinstance(vocabulary, dict):
        return False
    known, _ = clip_vocabulary()
    same = sum(vocabulary.get(symbol) == id for symbol, id in known.items())
    return bool(same >= 0.99 * len(known))


def _open(files: TokenizerFiles) -> FileTokenizer:
    """Make the tokenizer that the files describe.

    Raises:
        CheckpointError: if there is none, or it is broken.
    """
    config = files._config()
    for option in ("padding_side", "truncation_side"):
        if config.get(option) not in (None, "right"):
            raise CheckpointError(
                f"{files.origin / CONFIG}: {option} is {config[option]!r:.60}, and texts are "
                "padded and cut on their right side here; a model trained otherwise is not read"
            )
    kind = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    model = next((name for name in SENTENCEPIECE if name in files.contents), None)
    # As in transformers, whose class for SigLIP reads nothing else.
    if model and (TOKENIZER not in files.contents or kind == _SIGLIP):
        return _open_sentencepiece(files, model, kind or _USUAL_CLASSES.get(model, ""))
    if TOKENIZER not in files.contents and {VOCABULARY, MERGES} <= files.contents.keys():
        return _open_merges(files, kind)
    if TOKENIZER not in files.contents:
        raise CheckpointError(
            f"{files.origin} has no {TOKENIZER}, without which this model's texts have no ids: its "
            "vocabulary is not CLIP's; fetch the file from where the model came from"
            + (f" ({files.absence})" if files.absence else "")
        )
    path = files.origin / TOKENIZER
    try:
        backend = RustTokenizer.from_str(files.contents[TOKENIZER].decode("utf-8"))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is no tokenizer: {error}; fetch it again") from error
    begin, end = _asked_for(files, backend.token_to_id)
    return FileTokenizer(backend, files.cleaning, begin, end)


def _open_sentencepiece(files: TokenizerFiles, name: str, kind: str) -> FileTokenizer:
    """Make the tokenizer of a SentencePiece model.

    Args:
        files: among which it is.
        name: of its file.
        kind: the class of transformers that reads it, without "Fast".

    Raises:
        CheckpointError: if the model or the class is not one that is read.
    """
    path, config = files.origin / name, files._config()
    if kind not in _AROUND:
        raise CheckpointError(
            f"{path} is read by {kind or 'a class that no tokenizer_config.json names'}, and only "
            f"{', '.join(_AROUND)} are known here; put the {TOKENIZER} of this model beside it"
        )
    wrong = {"sp_model_kwargs": config.get("sp_model_kwargs") or None}
    if kind == _SIGLIP and config.get("do_lower_case", True) is not True:
        wrong["do_lower_case"] = config["do_lower_case"]
    if config.get("add_prefix_space", True) is not True:
        wrong["add_prefix_space"] = config["add_prefix_space"]
    for option, value in wrong.items():
        if value is not None:
            raise CheckpointError(
                f"{files.origin / CONFIG}: {option} is {value!r:.60}, which is not done here; put "
                f"the {TOKENIZER} of this model beside it"
            )
    model = read_model(path, files.contents[name])
    backend = model.backend(fairseq=kind == "XLMRobertaTokenizer")

    def find(piece: str) -> int | None:
        hidden = backend.token_to_id(HIDDEN + piece)
        return backend.token_to_id(piece) if hidden is None else hidden

    usual = []
    for place in _AROUND[kind]:
        ids = [find(piece) for piece in place]
        if None in ids:
            raise CheckpointError(
                f"{path} has no piece {' '.join(place)}, with which its texts end or begin; fetch "
                "it again"
            )
        usual.append([id for id in ids if id is not None])
    begin, end = _asked_for(files, find)
    begin, end = (usual[0] if begin is None else begin), (usual[1] if end is None else end)
    return FileTokenizer(backend, files.cleaning, begin, end, model.normalize)


def _open_merges(files: TokenizerFiles, kind: str) -> FileTokenizer:
    """Make the tokenizer of a vocabulary and merges, as transformers' CLIPTokenizer.

    Raises:
        CheckpointError: if they are another class's, or damaged.
    """
    if kind not in ("CLIPTokenizer", ""):
        raise CheckpointError(
            f"{files.origin} has the {VOCABULARY} and {MERGES} of a {kind}, and only those of a "
            f"CLIPTokenizer are read; put the {TOKENIZER} of this model beside them"
        )
    config = files._config()
    path = files.origin / VOCABULARY
    named = {
        "unk": EOT_TOKEN,
        "bos": BOS_TOKEN,
        "eos": EOT_TOKEN,
        **{k: t for k in ("unk", "bos", "eos") if (t := _content(config.get(f"{k}_token")))},
    }
    try:
        vocabulary = json.loads(files.contents[VOCABULARY])
        lines = files.contents[MERGES].decode("utf-8").splitlines()
        merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        pairs = [(left, right) for left, right in merges]
        backend = clips_backend(vocabulary, pairs, str(named["unk"]))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(
            f"{path} and {MERGES} are no CLIPTokenizer's: {error}; fetch them again"
        ) from None
    begin, end = (backend.token_to_id(str(named[place])) for place in ("bos", "eos"))
    if begin is None or end is None:
        raise CheckpointError(f"{path} has no {named['bos']} or no {named['eos']}; fetch it again")
    backend.add_special_tokens([str(named["bos"]), str(named["eos"])])
    return FileTokenizer(backend, files.cleaning, [begin], [end])


def _content(token: object) -> object:
    """Return a token's text, which may be written with how it is matched."""
    return token.get("content") if isinstance(token, dict) else token


def _asked_for(
    files: TokenizerFiles, find: Callable[[str], int | None]
) -> tuple[list[int] | None, list[int] | None]:
    """Return the ids that tokenizer_config.json wants around texts; None where it says nothing."""
    config, path = files._config(), files.origin / CONFIG

    def ids(kind: str) -> list[int] | None:
        wanted = config.get(f"add_{kind}_token")
        if not isinstance(wanted, bool):
            return None
        if not wanted:
            return []
        token = _content(config.get(f"{kind}_token"))
        found = find(token) if isinstance(token, str) else None
        if found is None:
            raise CheckpointError(
                f"{path} puts its {kind}_token around texts, and {token!r} is not in the vocabulary"
            )
        return [found]

    return ids("bos"), ids("eos")
