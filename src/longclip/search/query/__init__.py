"""Queries: a description, a picture or both, answered with images of a database."""

DEFAULT_COUNT = 10
"""Images that a query asks for by default, in Python, at the command line and over HTTP."""
