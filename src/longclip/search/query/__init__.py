"""Queries: a description, a picture or both, answered with images of a database."""

DEFAULT_COUNT = 10
"""Images that a query asks for by default, in Python, at the command line and over HTTP."""

DEFAULT_TEXT_SHARE = 0.5
"""What a text counts for beside a picture."""

MAX_TEXT_CHARACTERS = 20_000
"""Characters of a query's texts together, and of a text to be embedded: a second or two of work."""

MAX_COUNT = 10_000
"""Images that one query may ask for: all of them stand in one answer, with their texts."""
