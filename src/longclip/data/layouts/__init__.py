"""Readers of data sets in the folders and files they are published in."""
