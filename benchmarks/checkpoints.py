"""Checkpoints of real shapes: memory to convert them, time to load them.

    python benchmarks/checkpoints.py --out runs/checkpoints

For each architecture random weights are written, then converted from layout to layout. Every
conversion runs in a process of its own, and what is reported is its peak resident memory, mapped
files included, above that of the same process with everything imported, divided by the size of the
weights. At the end of the chain the first and the last checkpoint must have the same bits.

Loading is compared with transformers on the same directory, in turns, each time in a fresh process:
first until the model is there, then until it has embedded one text and one picture, since ours
leaves weights in the file until they are used.
"""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from figures import Figure, record

CONVERT = """
import json, sys
from pathlib import Path
import torch
import longclip
from longclip.model.convert import convert

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

torch.cat([torch.zeros(9), torch.zeros(9)]).half()
source, destination, target = sys.argv[1:]
before = resident("VmRSS")
convert(source, destination, target)
print(json.dumps(resident("VmHWM") - before))
"""

TEXT_TOWER = """
import json, sys
from pathlib import Path
import torch
import longclip

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

before = resident("VmRSS")
model = longclip.load(sys.argv[1], dtype=None, tower="text")
for parameter in model.parameters():
    parameter.detach().view(-1)[::512].float().sum()
print(json.dumps(resident("VmHWM") - before))
"""

LOAD = {
    "longclip": """
import json, sys, time
import torch
import longclip
import longclip.encoders.engines, longclip.model.pretrained
pixels, ids = torch.zeros(1, 3, 224, 224), torch.tensor([[49406, 5, 6, 7, 49407]])
start = time.perf_counter()
model = longclip.load(sys.argv[1])
loaded = time.perf_counter() - start
model.encode_text(ids), model.encode_image(pixels)
print(json.dumps([loaded, time.perf_counter() - start]))
""",
    "transformers": """
import json, sys, time
import torch
from transformers import CLIPModel
pixels, ids = torch.zeros(1, 3, 224, 224), torch.tensor([[49406, 5, 6, 7, 49407]])
start = time.perf_counter()
model = CLIPModel.from_pretrained(sys.argv[1]).eval()
loaded = time.perf_counter() - start
with torch.no_grad():
    model.get_text_features(ids), model.get_image_features(pixels)
print(json.dumps([loaded, time.perf_counter() - start]))
""",
}


def fresh(program: str, *arguments: str | Path) -> list[float] | float:
    """Return what a program prints as JSON, in a process of its own."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_random(architecture: str, dtype: str, directory: Path) -> None:
    """A stretched model directory of random weights, made one tensor at a time."""
    from collections.abc import Mapping

    import torch

    import longclip
    from longclip.checkpoints.write import Storing, write_huggingface
    from longclip.image.preprocess import Preprocess
    from longclip.model.architectures import ARCHITECTURES

    config = ARCHITECTURES[architecture]
    with torch.device("meta"):
        model = longclip.stretch(longclip.CLIP(config))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}

    class Random(Mapping[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            return 0.02 * torch.randn(shapes[name]).to(getattr(torch, dtype))

        def __iter__(self):
            return iter(shapes)

        def __len__(self) -> int:
            return len(shapes)

    preprocess = Preprocess(image_size=config.vision.image_size).to_json()
    write_huggingface(
        directory, Random(), model.config.to_json(), preprocess, Storing(shard_bytes=10**12)
    )


def weights(path: Path) -> int:
    """Bytes of a checkpoint's weights."""
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return sum(file.stat().st_size for file in files)


def conversions(architecture: str, dtype: str, out: Path) -> list[tuple[str, int, float]]:
    """Yield each conversion, the size of its source, and its peak memory over that size."""
    from longclip.checkpoints import open_checkpoint
    from longclip.model.architectures import ARCHITECTURES
    from longclip.model.inspect import compare

    first = out / "hf"
    write_random(architecture, dtype, first)
    vision = ARCHITECTURES[architecture].vision
    assert vision
    targets = (
        ["openai", "openclip", "hf"] if vision.hidden_act == "quick_gelu" else ["openclip", "hf"]
    )
    rows, source = [], first
    for number, target in enumerate([*targets, "hf-text"]):
        destination = out / (f"{number}.pt" if target == "openai" else f"{number}-{target}")
        peak = fresh(CONVERT, source, destination, target)
        assert isinstance(peak, int)
        rows.append((f"{source.name} → {target}", weights(source), peak / weights(source)))
        source = destination if target != "hf-text" else source
    peak = fresh(TEXT_TOWER, source)
    assert isinstance(peak, int)
    rows.append(("load(…, tower='text')", weights(source), peak / weights(source)))
    assert compare(open_checkpoint(first), open_checkpoint(source)) == []
    return rows


def main(
    *architectures: str,
    out: Path,
    dtype: str = "float16",
    load_from: str = "ViT-L/14",
    rounds: int = 5,
    keep: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure conversions of ARCHITECTURES (all four published sizes by default), then loading."""
    names = architectures or ("ViT-B/16", "ViT-L/14", "ViT-H/14", "ViT-bigG/14")
    table = Table("shape", "conversion", "GB", "peak ÷ size", title=f"stored as {dtype}")
    for name in names:
        place = out / name.replace("/", "-")
        shutil.rmtree(place, ignore_errors=True)
        for conversion, size, ratio in conversions(name, dtype, place):
            what = f"{name}, {conversion}: peak memory over the size of the source"
            record(Figure(what, "×", ratio, lower_is_better=True))
            table.add_row(name, conversion, f"{size / 1e9:.2f}", f"{ratio:.2f}")
        if not keep:
            shutil.rmtree(place)
    console = Console()
    console.print(table)
    print_loading(console, load_from, out / "load", rounds)


def print_loading(console: Console, architecture: str, directory: Path, rounds: int) -> None:
    """Seconds to load and to first use, in turns, with the medians' ratios."""
    shutil.rmtree(directory, ignore_errors=True)
    write_random(architecture, "float32", directory)
    times: dict[str, list[list[float]]] = {name: [] for name in LOAD}
    for turn in range(rounds + 1):
        for name, program in LOAD.items():
            seconds = fresh(program, directory)
            assert isinstance(seconds, list)
            if turn:  # the first fills the page cache
                times[name].append(seconds)
    shutil.rmtree(directory)
    medians = {
        n: [statistics.median(c) for c in zip(*rows, strict=True)] for n, rows in times.items()
    }
    table = Table("", "loaded, s", "first embeddings, s", title=f"{architecture}, float32")
    peer = next(name for name in medians if name != "longclip")
    for place, what in enumerate(("load", "load, embed a text and a picture")):
        pair = (medians["longclip"][place], peer, medians[peer][place])
        record(Figure(f"{architecture}, float32: {what}", "s", *pair, lower_is_better=True))
    for name, (loaded, used) in medians.items():
        ours = medians["longclip"]
        table.add_row(
            name, f"{loaded:.3f} ({loaded / ours[0]:.1f}×)", f"{used:.3f} ({used / ours[1]:.1f}×)"
        )
    console.print(table)


if __name__ == "__main__":
    cyclopts.run(main)
