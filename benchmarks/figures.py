"""Figures that a benchmark measured, and the facts of the machine that it measured them on.

Each script prints its own tables. What a claim of the documents rests on it also records here: one
line of JSON per figure, in the file that `run_all.py` names in the environment. A script that runs
alone records nothing.
"""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FILE = "LONGCLIP_FIGURES"
"""Environment variable that names the file figures are appended to."""

_UNITS = ("amx_int8", "amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f", "avx2")
"""Instructions that speed of matrix products depends on, as the kernel lists them."""


@dataclass(frozen=True)
class Figure:
    """One number, and what it is held against.

    Attributes:
        what: of what and under which conditions, in a few words.
        unit: of both numbers: `texts/s`, `s`, `GB` …
        ours: the number measured of longclip.
        peer: name of the best program beside it, or of a bound; empty where there is none.
        theirs: the number measured of that.
        lower_is_better: whether the smaller of both wins, as with seconds.
    """

    what: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    lower_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better ours is: above one, it wins; None where nothing is beside it."""
        if not self.theirs or not self.ours:
            return None
        return self.theirs / self.ours if self.lower_is_better else self.ours / self.theirs


def record(*figures: Figure) -> None:
    """Append figures to the file that the environment names, if it names one."""
    if place := os.environ.get(FILE):
        with Path(place).open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(figure)) + "\n" for figure in figures)


def recorded(place: Path) -> list[Figure]:
    """Return the figures in a file, in the order in which they were recorded."""
    if not place.exists():
        return []
    lines = place.read_text(encoding="utf-8").splitlines()
    return [Figure(**json.loads(line)) for line in lines]


def machine_facts(libraries: Sequence[str]) -> list[tuple[str, str]]:
    """Return what times depend on: processor, memory, system, versions, other work.

    Args:
        libraries: names of packages, whose versions are told where they are installed.
    """
    cpu = _fields(Path("/proc/cpuinfo"), ":")
    flags = cpu.get("flags", "").split()
    megabytes = int(_fields(Path("/proc/meminfo"), ":").get("MemTotal", "0 kB").split()[0]) / 1000
    busy = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        ("processor", cpu.get("model name") or platform.processor() or platform.machine()),
        ("instructions", ", ".join(unit for unit in _UNITS if unit in flags) or "not known"),
        ("cores to be used", str(cores)),
        ("memory", f"{megabytes / 1000:.0f} GB" if megabytes else "not known"),
        ("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
        ("libraries", ", ".join(filter(None, map(_version, libraries)))),
        ("other work at the start", f"{busy:.1f} processes ready to run in the last minute"),
    ]


def _fields(file: Path, colon: str) -> dict[str, str]:
    """Return the `name: value` lines of a file of Linux; of equal names the first one."""
    fields: dict[str, str] = {}
    if file.exists():
        for line in file.read_text().splitlines():
            name, _, value = line.partition(colon)
            fields.setdefault(name.strip(), value.strip())
    return fields


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""
