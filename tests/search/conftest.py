"""Leaves these tests out where the libraries of the extra `search` are not installed."""

from importlib.util import find_spec

if find_spec("lancedb") is None:
    collect_ignore_glob = ["*"]
