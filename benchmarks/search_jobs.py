"""Parts that the search benchmarks share: processes, what they take, models, tables."""

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = {
    "longclip": ("longclip", "lancedb"),
    "sentence-transformers": ("sentence-transformers", "transformers"),
    "clip-retrieval": ("open_clip_torch", "faiss-cpu"),
    "faiss": ("faiss-cpu",),
}
_MODULES = {
    "open_clip_torch": "open_clip",
    "faiss-cpu": "faiss",
    "sentence-transformers": "sentence_transformers",
}


def ask(job: str, **options: Any) -> dict[str, Any]:
    """Run a job of search.py in a process of its own; `failed` says how it ended, if badly."""
    program = Path(__file__).with_name("search.py")
    command = [sys.executable, str(program), "--job", json.dumps([job, options])]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode < 0:
        return {"failed": f"ended by signal {-result.returncode}"}
    if result.returncode:
        raise SystemExit(result.stderr)
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def chosen(names: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """Contestants that are asked for and can be had here; the first one is ours."""
    found = []
    for name in names:
        if only and not name.startswith(tuple(only)):
            continue
        libraries = next(value for key, value in LIBRARIES.items() if name.startswith(key))
        lacking = [each for each in libraries if not find_spec(_MODULES.get(each, each))]
        if lacking:
            print(f"{name} is left out; pip install {' '.join(lacking)}")
        else:
            found.append(name)
    return found


def setting() -> str:
    """Versions and processor, on a line."""
    import torch

    names = dict.fromkeys(name for part in LIBRARIES.values() for name in part)
    versions = [f"{name} {_version(name)}" for name in ("torch", *names) if _version(name)]
    has = torch.cpu.get_capabilities()
    units = [unit for unit in ("avx512_f", "avx512_bf16", "amx_bf16") if has.get(unit)]
    return f"{', '.join(versions)}; {torch.get_num_threads()} threads, {' '.join(units)}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def memory(field: str = "VmHWM") -> int:
    """Bytes that this process has (VmRSS) or had at most (VmHWM), mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def processor_seconds() -> float:
    """Return the seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def disk(place: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    if place.is_file():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def write_model(architecture: str, out: Path) -> Path:
    """A directory with a model of 248 tokens: the bundled nano, or random weights of a shape."""
    place = out / f"model-{architecture.replace('/', '-')}"
    if place.exists():
        return place
    import torch

    import longclip
    from longclip.model.architectures import ARCHITECTURES

    torch.manual_seed(0)
    base = longclip.load("nano") if architecture == "nano" else None
    longclip.save(longclip.stretch(base or longclip.CLIP(ARCHITECTURES[architecture])), place)
    return place


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print Markdown."""
    print(f"\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()
