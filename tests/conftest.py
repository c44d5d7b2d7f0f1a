"""Settings for all tests."""

import os

from hypothesis import settings

# A busy machine is no failure: tests have no clocks. On CI every run tries the same examples.
settings.register_profile("longclip", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("longclip")
