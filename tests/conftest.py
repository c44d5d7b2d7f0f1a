"""Settings for all tests."""

import os
import tempfile

from hypothesis import settings

# A busy machine is no failure: tests have no clocks. On CI every run tries the same examples.
settings.register_profile("longclip", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("longclip")

# `datasets` copies every table it opens; these copies need not outlive the tests.
_CACHE = tempfile.TemporaryDirectory(prefix="longclip-tests-")
os.environ["HF_DATASETS_CACHE"] = _CACHE.name
# Neither are embeddings kept, nor found from an earlier run.
os.environ["XDG_CACHE_HOME"] = _CACHE.name
