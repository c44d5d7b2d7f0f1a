"""Indexing with Ray Data, on all processors of this machine or of many."""
