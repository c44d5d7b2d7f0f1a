"""Names that import their module on first use, so that `import longclip` stays light."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (PEP 562) for a package.

    `exports` maps each public name to the submodule that defines it, or to "" where the name is
    itself a submodule.
    """

    def __getattr__(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{exports[name] or name}")
        return getattr(module, name) if exports[name] else module

    def __dir__() -> list[str]:
        return sorted(exports)

    return __getattr__, __dir__
