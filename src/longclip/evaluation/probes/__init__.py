"""Probes of what recall hides: the parts of a long text that a model reads."""
