"""Checksums of the tokenizer's files, in the metadata of the weights that they belong to.

A flipped bit may leave a tokenizer.json as readable as before, with another word in it: texts would
silently get other ids. Programs that write the weights anew leave the entries out.
"""

import zlib
from collections.abc import Mapping

from longclip.checkpoints.checkpoint import Checkpoint
from longclip.checkpoints.tensor_files import is_safetensors, read_metadata
from longclip.errors import CheckpointError

_ENTRY = "longclip_crc32 "  # and the name of a file


def tokenizer_entries(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Return the entries of weights' metadata for a tokenizer's files, given by their names."""
    return {_ENTRY + name: _checksum(content) for name, content in sorted(contents.items())}


def check_tokenizer(checkpoint: Checkpoint) -> None:
    """Compare the tokenizer of a model with what is noted in its weights, if anything is.

    Raises:
        CheckpointError: if a file of it is another; it is named.
    """
    tokenizer = checkpoint.tokenizer
    if tokenizer is None:
        return
    for weights in checkpoint.files:
        # One that was fetched because the model had none is as its owner wrote it.
        if weights.parent != tokenizer.origin or not is_safetensors(weights):
            continue
        metadata = read_metadata(weights)
        for name, content in tokenizer.contents.items():
            found = _checksum(content)
            noted = metadata.get(_ENTRY + name, found)
            if noted != found:
                raise CheckpointError(
                    f"{tokenizer.origin / name} is damaged or another than the model was saved "
                    f"with: its checksum is {found}, and {noted} is noted in {weights.name}; "
                    "copy it again from where it came, or if you have replaced it on purpose: "
                    f"longclip convert {checkpoint.path} NEW --new-tokenizer"
                )


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"
