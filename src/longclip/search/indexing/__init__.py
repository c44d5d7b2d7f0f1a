"""Indexing: images listed, decoded, embedded and written, by this process or by a Ray cluster."""
