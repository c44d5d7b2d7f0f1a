"""Tar files: their members, the samples that these make up, and shards as a collection."""
