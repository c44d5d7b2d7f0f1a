"""OpenAI's own model code for tests, without torchvision.

The package `clip-anytorch` is OpenAI's repository (MIT) with torch's version left open. Importing
the package would import its image transforms and with them torchvision, so that its one module
`clip/model.py` is loaded by its path.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

_NAME = "openai_clip_model"


def openai_clip() -> Any:
    """The module with `CLIP` and `build_model`."""
    if _NAME not in sys.modules:
        package = importlib.util.find_spec("clip")
        if package is None or not package.submodule_search_locations:
            pytest.skip("clip-anytorch is not installed")
        path = Path(package.submodule_search_locations[0]) / "model.py"
        spec = importlib.util.spec_from_file_location(_NAME, path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[_NAME] = module
    return sys.modules[_NAME]
