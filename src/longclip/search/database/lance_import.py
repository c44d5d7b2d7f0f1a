"""Import of LanceDB without the libraries that tables on disk and in object storage never use.

`import lancedb` takes one to two seconds, and two thirds of that are three imports: the client of
a REST service (hundreds of generated pydantic models and methods), `pyarrow.dataset`, which brings
pandas with it, and `pyarrow.compute`. LanceDB asks for them at the top of its modules, but a search
calls nothing in them, and it is that second which a search from the shell takes longest for.

So while LanceDB is imported, these modules are stand-ins. A class of a stand-in is asked for in two
ways: as one that a value may be an instance of, which no value is before the real module has been
imported, and as one that is called, or whose attributes are read: then the real module is imported
and does it. What LanceDB does later is therefore what it does without this. Other code that imports
one of these modules afterwards gets the real one.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any

_UNUSED = (
    "lance_namespace_urllib3_client",
    "lancedb.namespace",
    "lancedb.remote.db",
    "pyarrow.compute",
    "pyarrow.dataset",
)
"""What is not imported with LanceDB, nor anything below it."""

_lock = RLock()


def import_lancedb() -> Any:
    """Import LanceDB, and return it; plainly where a version of it takes stand-ins amiss.

    Raises:
        ImportError: if it is not installed.
    """
    with _lock:
        if "lancedb" not in sys.modules:
            try:
                with _standing_in():
                    importlib.import_module("lancedb")
            except Exception:
                # All but the library in machine code, which a process loads once.
                for name in [*sys.modules]:
                    native = name.startswith("lancedb._")
                    if name.startswith(("lancedb", "lance_namespace")) and not native:
                        del sys.modules[name]
        return importlib.import_module("lancedb")


def hide_pandas() -> None:
    """Make Arrow take pandas for not installed, in a process that hands it nothing of pandas.

    Arrow imports pandas to find out whether a list is one of its objects, once in a process. What
    asks for pandas by name still gets it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder: Any = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0.0])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas:
    """Finder that says of pandas that it is not there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used in this process", name=name)


class _Class(type):
    """Metaclass of the classes of stand-ins."""

    def __subclasscheck__(cls, other: type) -> bool:
        module = sys.modules.get(cls.__module__)
        return module is not None and issubclass(other, getattr(module, cls.__name__))

    def __instancecheck__(cls, value: object) -> bool:
        return issubclass(type(value), cls)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return _real(cls.__module__, cls.__name__)(*args, **options)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(cls.__module__, cls.__name__), name)


class _StandIn(ModuleType):
    """Module of which nothing is imported before it is used."""

    importing = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not self.importing:
            return _real(self.__name__, name)
        made = _Class(name, (), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


def _real(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    assert not isinstance(found, _StandIn), f"{module} was used while LanceDB was imported"
    return getattr(found, name)


class _Finder:
    """Finder and loader of stand-ins (`importlib.abc.MetaPathFinder`, `Loader`)."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if any(name == each or name.startswith(f"{each}.") for each in _UNUSED):
            return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty."""


@contextmanager
def _standing_in() -> Iterator[None]:
    """Put stand-ins in the place of modules that are imported now and were not before."""
    finder: Any = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in [*sys.modules.items()]:
            if isinstance(module, _StandIn):
                module.importing = False
                del sys.modules[name]
