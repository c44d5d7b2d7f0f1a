"""Helpers that know nothing of CLIP: files, progress, threads, hardware, drawing, terminal."""
