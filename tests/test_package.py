"""What the package exports, what importing it costs, and what no source file may hold."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import longclip

SRC = Path(longclip.__file__).parent
FILES = sorted(SRC.rglob("*.py"))
HEAVY = ("torch", "transformers", "datasets", "numpy", "PIL", "tokenizers", "matplotlib", "rich")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; `from a import b` counts as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "modules are named in full: no relative imports"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_imports_are_absolute() -> None:
    for path in FILES:
        list(imports(ast.parse(path.read_text(encoding="utf-8"))))  # asserts that none is relative


def test_no_file_names_a_machine() -> None:
    """Paths and package mirrors of the machine that something was written on."""
    private = re.compile(r"""["'\s=(](/work|/home|/root|/tmp|/Users|/mnt)/|index-url|pypi\.""")
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if private.search(line)
    ]
    assert found == []


def subpackages() -> list[str]:
    return [module.name for module in pkgutil.iter_modules([str(SRC)]) if module.ispkg]


def packages() -> list[str]:
    return sorted(
        ".".join(path.parent.relative_to(SRC.parent).parts) for path in SRC.rglob("__init__.py")
    )


@pytest.mark.parametrize("package_name", packages())
def test_every_public_name_is_there(package_name: str) -> None:
    package = importlib.import_module(package_name)
    public = [name for name in getattr(package, "__all__", []) if name != "__version__"]
    # A submodule that has been imported hides a lazy name that is called like it.
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for name in public:
        is_module = package is longclip and name in (*subpackages(), "errors")
        assert inspect.ismodule(getattr(package, name)) is is_module, name
        assert name in dir(package), name
    if public:
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            package.nonsense  # noqa: B018


@pytest.mark.parametrize("name", packages())
def test_type_checkers_see_every_public_name(name: str) -> None:
    """The lazy names are what is imported `as` itself: that is what makes them public."""
    package = importlib.import_module(name)
    source = Path(package.__file__ or "").read_text(encoding="utf-8")
    if "export_lazily(" not in source:
        return
    tree = ast.parse(source)
    seen = [
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    assert len(seen) == len(set(seen))
    assert set(package.__all__) - {"__version__"} == set(seen)


@pytest.mark.parametrize(
    ("former", "name", "now"),
    [
        ("longclip.objectives", "primary_components", "longclip.losses"),
        (
            "longclip.evaluation.during_training",
            "periodic_evaluation",
            "longclip.evaluation.periodic",
        ),
    ],
)
def test_documented_names_of_before_stay(former: str, name: str, now: str) -> None:
    there, here = (importlib.import_module(module) for module in (former, now))
    assert getattr(there, name) is getattr(here, name)


def modules_after(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after `code`."""
    program = (
        f"import json, sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
        "print(json.dumps([n.partition('.')[0] for n in sys.modules]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_longclip_is_light() -> None:
    loaded = modules_after("import longclip, longclip.text, longclip.data, longclip.evaluation")
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("words", ["--help", "train --help", "eval --help", "--version"])
def test_help_takes_no_torch(words: str) -> None:
    arguments = ["longclip", *words.split()]
    code = f"sys.argv = {arguments}; from longclip.cli import main; main()"
    assert modules_after(code).isdisjoint({"torch", "numpy", "datasets", "transformers"})


def test_known_models_are_listed_without_anything_heavy() -> None:
    loaded = modules_after("import longclip; assert longclip.known_models()")
    assert loaded.isdisjoint({*HEAVY, "huggingface_hub"})


@pytest.mark.parametrize("words", [["tokenize", "a boat"], ["models"]])
def test_what_takes_no_torch_at_the_command_line(words: list[str]) -> None:
    code = f"sys.argv = ['longclip', *{words}]; import longclip.cli as c; c.main()"
    assert modules_after(code).isdisjoint({"torch", "numpy", "datasets", "transformers"})


@pytest.mark.parametrize(
    "words",
    [
        ["average", "nano", "gone", "new"],
        ["convert", "gone", "new"],
        ["index", "photos", "--db", "db", "--model", "gone"],
        ["inspect", "nano", "--against", "gone"],
        ["prompt", "a boat", "--model", "gone"],
        ["search", "a boat", "--db", "db", "--model", "gone"],
        ["stretch", "gone", "new"],
        ["tokenize", "a boat", "--model", "gone"],
        ["train", "--model", "gone", "--data", "scenes"],
    ],
    ids=lambda words: str(words[0]),
)
def test_a_mistyped_model_is_told_before_torch_is_imported(words: list[str]) -> None:
    code = f"sys.argv = ['longclip', *{words}]; import longclip.cli as c; c.main()"
    assert "torch" not in modules_after(code)
