"""Formats of checkpoints, each a module that knows the models of one family of programs.

`longclip.checkpoints.open` finds the one that reads a path. `sentence_transformers` reads nothing:
it writes what that library wants beside a model's own files.
"""
