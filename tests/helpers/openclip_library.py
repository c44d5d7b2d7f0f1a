"""open_clip and timm for tests, without torchvision.

They import image transforms, data sets and a kind of norm from torchvision, none of which is used
here. A mock stands in for them during the import and is taken away again, since transformers would
find it.
"""

import sys
from typing import Any
from unittest.mock import MagicMock

_PARTS = (
    "",
    ".datasets",
    ".models",
    ".models.feature_extraction",
    ".ops",
    ".ops.misc",
    ".transforms",
    ".transforms.functional",
)


def open_clip() -> Any:
    """The imported package."""
    if "open_clip" not in sys.modules:
        # open_clip imports it, and it would look the mock over.
        import transformers  # noqa: F401

        names = [f"torchvision{part}" for part in _PARTS]
        sys.modules.update({name: MagicMock() for name in names})
        # timm asks of layers whether they are of this class.
        sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = type("FrozenBatchNorm2d", (), {})
        try:
            import open_clip  # noqa: F401
        finally:
            for name in names:
                del sys.modules[name]
    return sys.modules["open_clip"]
