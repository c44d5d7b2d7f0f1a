"""Pairs per second and memory of whole training steps: ours beside the published one and a peer.

    python benchmarks/train_step.py --architecture ViT-B/16 --depth 1 3 --batch-size 64

Compares, with the same random weights and the same pairs, in bfloat16 arithmetic where the hardware
has it and in float32 elsewhere (`--precision`):

- longclip: the trainer's own step, `paper` recipe
- published: a transcription of the published Long-CLIP step (see train_step_peers.py)
- transformers: `CLIPModel` with open_clip's loss, texts padded to 248
- on a CPU both also with the plain attention that ours uses there, to tell that gain apart

First all must have the same loss, and the published step the same gradient too. Then they take
turns, each in a process of its own, so that whatever else the machine does hits all alike; on a
CPU one thread computes, and only its own time counts. The peers get normalised pixels and padded
ids that are on the device already; ours gets what its data loader gives it, bytes and ids. At two
depths the seconds of all layers are told from the difference, which is what a full-sized model
costs where only a shallow one can be waited for.

On a GPU it also tells how much of the hardware is used, and how long the paper's fine-tuning takes:

    python benchmarks/train_step.py --batch-size 1024 4096 8192 --micro-batch 512
    python benchmarks/train_step.py --architecture ViT-L/14 --batch-size 4096 --micro-batch 256
    python benchmarks/train_step.py --batch-size 4096 --micro-batch 512 --profile

Other questions: `--memory`, what a step's memory grows with; `--tricks`, what three tricks gain on
a CPU.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

from figures import Figure, record
from train_step_jobs import Job, run
from train_step_pairs import (
    PAPER_EPOCHS,
    PAPER_PAIRS,
    padded_flops,
    shape,
    step_flops,
    text_lengths,
)

OURS = "longclip"
PEERS = ("published", "transformers")
PLAIN = tuple(f"{peer}, plain attention" for peer in PEERS)
TRICKS = ("fused attention", "memory returned", "lookup per micro-batch")
SAME_LOSS, LIKE_LOSS = 1e-4, 2e-2
"""Relative, in float32 at the first step, and in bfloat16 with different kernels later."""

PEAK_TFLOPS = {
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "H200": 989,
    "B200": 2250,
    "A100": 312,
    "L40S": 362,
    "RTX 4090": 165,
}
"""Dense bfloat16 with float32 sums, as the makers tell it; more special names first."""


def check(job: Job) -> None:
    """Stop where the contestants do not compute the same, in float32 on a few pairs.

    open_clip's loss knows no label smoothing, so its peer is held against ours without.
    """
    # More pairs than principal components, or the coarse image feature is the fine one.
    few = replace(job, batch_size=48, warm_up=0, steps=1, float32=True, micro_batch=0)
    for name, smoothing in (("published", 0.1), ("transformers", 0.0)):
        ours, theirs = (
            ask(replace(few, contestant=each, smoothing=smoothing)) for each in (OURS, name)
        )
        for result in (ours, theirs):
            if "failed" in result:
                raise SystemExit(
                    f"{name} beside ours: {result['failed']} (memory?); nothing compared"
                )
        apart = {"loss": _apart(ours["loss"], theirs["loss"])}
        if name == "published":
            apart["gradient norm"] = _apart(ours["gradient"], theirs["gradient"])
        differences = ", ".join(f"{what} {value:.1e} apart" for what, value in apart.items())
        print(
            f"first step, {name}: loss {theirs['loss']:.5f}, ours {ours['loss']:.5f}; {differences}"
        )
        if max(apart.values()) > SAME_LOSS:
            raise SystemExit(f"{name} computes something else; its times would mean nothing")


def compare(jobs: list[Job], rounds: int) -> dict[Job, dict[str, Any]]:
    """The best seconds and the most memory of each, all taking turns."""
    found: dict[Job, dict[str, Any]] = {}
    for _ in range(rounds):
        for job in jobs:
            if found.get(job, {}).get("failed"):
                continue
            result = ask(job)
            before = found.get(job, {"seconds": [], "memory": 0})
            if "failed" not in result:
                result["seconds"] = before["seconds"] + result["seconds"]
                result["memory"] = max(before["memory"], result["memory"])
            found[job] = result
    return found


def ask(job: Job) -> dict[str, Any]:
    """Run a job in a process of its own."""
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode < 0:
        return {"failed": f"ended by signal {-result.returncode}"}
    if result.returncode:
        raise SystemExit(result.stderr)
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def print_results(jobs: list[Job], found: dict[Job, dict[str, Any]], peak_tflops: float) -> None:
    """Print a table of one architecture, depth and batch size; the first job is ours."""
    ours, first = found[jobs[0]], jobs[0]
    config = shape(first.architecture, first.depth)
    flops = step_flops(config, first.batch_size, seed=1)
    tokens = sum(int(part.sum()) for part in text_lengths(first.batch_size, seed=1))
    padded = 3 * padded_flops(config, 2 * first.batch_size, first.batch_size)
    depth = f"{first.depth} layers a tower" if first.depth else "all layers"
    print(
        f"\n{first.architecture}, {depth}, batch {first.batch_size}; "
        f"{tokens / first.batch_size:.0f} tokens of text and {flops / first.batch_size / 1e9:.1f} "
        f"GFLOP a pair; padded, and everything computed everywhere, {padded / flops:.2f} × that"
    )
    head = "| | s/step | pairs/s | ours ÷ this | peak memory, GB |"
    print(head + (" utilisation | hours |" if peak_tflops else ""))
    print("|---|" + "---:|" * (head.count("|") - 2 + 2 * bool(peak_tflops)))
    for job in jobs:
        result = found[job]
        if "failed" in result:
            print(f"| {job.name} | {result['failed']} |")
            continue
        seconds = min(result["seconds"])
        ratio = "" if "failed" in ours else f"{seconds / min(ours['seconds']):.2f}×"
        if "failed" not in ours and _apart(ours["loss"], result["loss"]) > LIKE_LOSS:
            raise SystemExit(f"{job.name}: loss {result['loss']:.3f}, ours {ours['loss']:.3f}")
        row = f"| {job.name} | {seconds:.2f} | {job.batch_size / seconds:.3g} | {ratio} |"
        row += f" {result['memory'] / 1e9:.2f} |"
        if peak_tflops:
            hours = PAPER_PAIRS * PAPER_EPOCHS * seconds / job.batch_size / 3600
            row += f" {flops / seconds / peak_tflops / 1e12:.1%} | {hours:.2f} |"
        print(row)
        if job is not first and "failed" not in ours:
            what = f"{first.architecture}, {depth}, batch {first.batch_size}"
            step = min(ours["seconds"])
            record(Figure(what, "s/step", step, job.name, seconds, lower_is_better=True))


def tell_full_depth(shallow: list[Job], deep: list[Job], found: dict[Job, dict[str, Any]]) -> None:
    """Print what all layers would take, each costing what it costs between two depths."""
    vision, text = shape(shallow[0].architecture).vision, shape(shallow[0].architecture).text
    assert vision
    assert text
    if vision.num_hidden_layers != text.num_hidden_layers:
        return
    layers = vision.num_hidden_layers
    seconds = []
    for few, more in zip(shallow, deep, strict=True):
        if "failed" in found[few] or "failed" in found[more]:
            return
        a, b = min(found[few]["seconds"]), min(found[more]["seconds"])
        seconds.append(a + (b - a) * (layers - few.depth) / (more.depth - few.depth))
    print(f"\nprojected to all {layers} layers:")
    for job, value in zip(shallow, seconds, strict=True):
        print(
            f"| {job.name} | {value:.1f} | {job.batch_size / value:.3g} | "
            f"{value / seconds[0]:.2f}× |"
        )


def steps(a: argparse.Namespace, job: Job, peak_tflops: float) -> None:
    """The comparison, for each depth and batch size."""
    # A few layers tell whether the same is computed; all of them in float32 take 20 GB.
    check(replace(job, depth=a.depth[0] or 2))
    names = (OURS, *PEERS, *(PLAIN if job.device == "cpu" else ()))
    chosen = [name for name in names if not a.only or name in a.only]
    for batch_size in a.batch_size:
        tables = [
            [replace(job, contestant=name, batch_size=batch_size, depth=depth) for name in chosen]
            for depth in a.depth
        ]
        found = compare([each for table in tables for each in table], a.rounds)
        for table in tables:
            print_results(table, found, peak_tflops)
        if len(tables) == 2:
            tell_full_depth(tables[0], tables[1], found)


def memory(a: argparse.Namespace, job: Job) -> None:
    """Peak memory of one of our steps against batch size, dense logits and by rows."""
    print(f"{job.architecture}, {job.depth or 'all'} layers a tower, micro-batch {job.micro_batch}")
    print("| pairs | logits | peak memory, GB | of which pictures as bytes | s |")
    print("|---:|---|---:|---:|---:|")
    for batch_size in a.batch_size:
        for rows in sorted({0, job.logit_rows}):
            result = ask(replace(job, batch_size=batch_size, logit_rows=rows))
            if "failed" in result:
                print(f"| {batch_size} | {rows or 'all'} rows | {result['failed']} |")
                continue
            print(
                f"| {batch_size} | {rows or 'all'} rows | {result['memory'] / 1e9:.2f} | "
                f"{result['pictures'] / 1e9:.2f} | {result['seconds'][0]:.0f} |",
                flush=True,
            )


def tricks(a: argparse.Namespace, job: Job) -> None:
    """Measure what our step takes without each of three things that a CPU wants."""
    for batch_size in a.batch_size:
        jobs = [replace(job, batch_size=batch_size, trick=trick) for trick in ("", *TRICKS)]
        print_results(jobs, compare(jobs, a.rounds), 0.0)


def main() -> None:
    """Run what is asked for."""
    a = _options()
    if a.job:
        print(json.dumps(run(Job(**json.loads(a.job)))))
        return
    import torch

    from longclip.util.hardware import has_fast_bfloat16

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    device = a.device or ("cuda" if torch.cuda.is_available() else "cpu")
    gpu = torch.cuda.get_device_name() if device == "cuda" else ""
    peak = a.peak_tflops or next((v for k, v in PEAK_TFLOPS.items() if k in gpu), 0.0)
    a.batch_size = a.batch_size or ([1024] if gpu else [64])
    a.depth = a.depth or ([0] if gpu else [1, 2])
    a.rounds = a.rounds or (3 if gpu else 1)
    precision = a.precision or ("bfloat16" if has_fast_bfloat16(device) else "float32")
    job = Job(
        contestant=OURS,
        architecture=a.architecture,
        depth=a.depth[0],
        batch_size=a.batch_size[0],
        warm_up=max(a.batch_size) if gpu else 16,
        steps=a.steps or (5 if gpu else 1),
        micro_batch=a.micro_batch,
        logit_rows=a.logit_rows,
        activation_checkpointing=a.activation_checkpointing,
        compile=a.compile,
        device=device,
        float32=precision == "float32",
    )
    print(f"torch {torch.__version__}, {precision}, {gpu or 'one CPU thread'}")
    if gpu and not peak:
        print(f"how fast a {gpu} can be is not known here: give --peak-tflops for utilisation")
    if a.profile:
        for batch_size in a.batch_size:
            print(ask(replace(job, batch_size=batch_size, profile=True))["profile"])
    elif a.memory:
        memory(a, replace(job, micro_batch=a.micro_batch or 64, warm_up=0, steps=1))
    elif a.tricks:
        tricks(a, job)
    else:
        steps(a, job, peak)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--architecture", default="ViT-B/16")
    add("--depth", type=int, nargs="+", help="layers a tower, 0 for all; two for a projection")
    add("--batch-size", type=int, nargs="+")
    add("--steps", type=int, help="timed steps of each process, after one that is not")
    add("--rounds", type=int)
    add("--only", nargs="+", help="contestants, by name")
    add("--micro-batch", type=int, default=0, help="of our step; 0 for the batch")
    add("--logit-rows", type=int, default=0, help="of our step; 0 for all")
    add("--activation-checkpointing", action="store_true", help="in our step")
    add("--compile", action="store_true", help="our layers")
    add("--device", choices=("cpu", "cuda"))
    add("--precision", choices=("bfloat16", "float32"), help="of arithmetic; the faster one")
    add("--peak-tflops", type=float, help="bfloat16 arithmetic that the hardware can do")
    add("--profile", action="store_true", help="where one of our steps spends its time")
    add("--memory", action="store_true", help="peak memory against batch size")
    add("--tricks", action="store_true", help="what three tricks gain on a CPU")
    add("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def _apart(a: float, b: float) -> float:
    return abs(a - b) / abs(a)


if __name__ == "__main__":
    main()
