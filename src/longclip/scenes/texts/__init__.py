"""Texts about scenes: a summary, short captions and the long description."""
