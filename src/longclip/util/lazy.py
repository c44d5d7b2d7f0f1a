"""Names that import their module on first use, so that `import longclip` stays light."""

import ast
import importlib
import inspect
import sys
from typing import Any


def export_lazily(package: str, *own: str) -> None:
    """Give a package its `__getattr__` and `__dir__` (PEP 562) and its `__all__`.

    Its exports are what its `__init__.py` imports under `if TYPE_CHECKING:`, each as
    `from longclip.package.module import Name as Name`: stated there alone, public for a type
    checker, and read from the source here. So the source has to be there, as it is in a wheel, an
    editable install and a zip file, but not where only `.pyc` files are shipped, as PyInstaller
    does: importing the package then raises OSError.

    Args:
        package: its `__name__`.
        own: public names that it defines itself.
    """
    module = sys.modules[package]
    home = {
        alias.name: node.module or ""
        for block in ast.parse(inspect.getsource(module)).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = sorted((*home, *own))

    def __getattr__(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home[name] == package:  # the name of a submodule
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(home[name]), name)

    vars(module).update(__getattr__=__getattr__, __dir__=lambda: names, __all__=names)
