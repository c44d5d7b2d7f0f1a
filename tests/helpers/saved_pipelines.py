"""Tiny pipelines and Long-CLIPs on disk, made once for all tests of a run."""

import functools
import tempfile
import warnings
from pathlib import Path

import longclip
from tests.helpers.pipelines import Family, tiny_clip, tiny_pipeline

_DIRECTORY = tempfile.TemporaryDirectory(prefix="longclip-pipelines-")

# The first 77 tokens of the two are the same.
BEGINNING = "a small red boat lies near the shore. " * 9
BOAT, DOG = f"{BEGINNING}A red boat.", f"{BEGINNING}Two old dogs."


@functools.cache
def saved_pipeline(family: Family) -> Path:
    """A directory as diffusers writes it."""
    path = Path(_DIRECTORY.name, family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiny_pipeline(family).save_pretrained(path)
    return path


@functools.cache
def saved_clip(family: Family, slot: str = "text_encoder") -> Path:
    """A Long-CLIP that fits it."""
    path = Path(_DIRECTORY.name, f"{family}-{slot}")
    longclip.save(tiny_clip(family, slot), path)
    return path
