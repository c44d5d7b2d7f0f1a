"""The order of the rooms, and what importing them costs."""

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
ROOMS = (
    "inputs",
    "checkpoints",
    "model",
    "losses",
    "objectives",
    "scenes",
    "data",
    "evaluation",
    "report",
    "runs",
    "training",
    "search",
    "diffusion",
    "demo",
    "commands",
    "__main__",
)
FOR_ALL = (
    "errors",
    "options",
    "_files",
    "_drawing",
    "_hardware",
    "_lazy",
    "_libraries",
    "_progress",
    "_terminal",
    "_threads",
    "spec",
)
HEAVY = ("torch", "transformers", "datasets", "numpy", "PIL", "tokenizers", "matplotlib", "rich")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; `from a import b` counts as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "rooms are named in full: no relative imports"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def misplaced(room: str, name: str) -> bool:
    """Whether code in `room` must not import `name`."""
    package, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    if package != "longclip" or part in (*FOR_ALL, "__version__"):
        return False
    if room in FOR_ALL:
        return True
    if part not in ROOMS:
        # The package itself re-exports rooms; only what stands below all of them may use that.
        return room not in ("demo", "commands", "__main__")
    return ROOMS.index(part) > ROOMS.index(room)


def violations(files: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(SRC.parent)}:{line}: {room} imports {name}"
        for path in files
        if (room := path.relative_to(SRC).parts[0].removesuffix(".py")) != "__init__"
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if misplaced(room, name)
    ]


def test_rooms_import_only_from_rooms_above() -> None:
    assert violations(FILES) == []


def test_every_room_is_known() -> None:
    found = {module.name for module in pkgutil.iter_modules([str(SRC)])}
    assert found <= {*ROOMS, *FOR_ALL}


@pytest.mark.parametrize(
    ("room", "name", "expected"),
    [
        ("data", "longclip.inputs.ImageError", False),
        ("data", "longclip.data.table", False),
        ("inputs", "longclip.model.CLIP", True),
        ("inputs", "longclip", True),
        ("model", "longclip.stretch", True),
        ("commands", "longclip", False),
        ("demo", "longclip.commands.app", True),
        ("training", "longclip.__version__", False),
        ("_files", "longclip.inputs", True),
        ("inputs", "torch.nn", False),
        ("data", "longclip.scenes", False),
        ("scenes", "longclip.data", True),
    ],
)
def test_the_rule_itself(room: str, name: str, expected: bool) -> None:
    assert misplaced(room, name) is expected


def test_no_torchvision() -> None:
    found = [
        f"{path}:{line}"
        for path in FILES
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] == "torchvision"
    ]
    assert found == []


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


def rooms() -> list[str]:
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
        is_room = package is longclip and name in (*rooms(), "errors")
        assert inspect.ismodule(getattr(package, name)) is is_room, name
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
    loaded = modules_after("import longclip, longclip.inputs, longclip.data, longclip.evaluation")
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("words", ["--help", "train --help", "eval --help", "--version"])
def test_help_takes_no_torch(words: str) -> None:
    arguments = ["longclip", *words.split()]
    code = f"sys.argv = {arguments}; from longclip.commands import main; main()"
    assert modules_after(code).isdisjoint({"torch", "numpy", "datasets", "transformers"})


def test_tokenizing_at_the_command_line_takes_no_torch() -> None:
    code = "sys.argv = ['longclip', 'tokenize', 'a boat']; import longclip.commands as c; c.main()"
    assert modules_after(code).isdisjoint({"torch", "numpy", "datasets", "transformers"})
