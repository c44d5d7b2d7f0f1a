"""Probes of what recall hides: which parts of a long text a model reads."""
