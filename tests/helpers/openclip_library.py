"""open_clip for tests, without torchvision.

It imports image transforms and a ResNet helper from torchvision, none of which is used here. A mock
stands in for them during the import and is taken away again, since transformers would find it.
"""

import sys
from typing import Any
from unittest.mock import MagicMock

_PARTS = ("", ".transforms", ".transforms.functional", ".ops", ".ops.misc")


def open_clip() -> Any:
    """The imported package."""
    if "open_clip" not in sys.modules:
        # open_clip imports it, and it would look the mock over.
        import transformers  # noqa: F401

        names = [f"torchvision{part}" for part in _PARTS]
        sys.modules.update({name: MagicMock() for name in names})
        try:
            import open_clip  # noqa: F401
        finally:
            for name in names:
                del sys.modules[name]
    return sys.modules["open_clip"]
