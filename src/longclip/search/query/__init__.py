"""Queries: a description, a picture or both, answered with images of a database."""
