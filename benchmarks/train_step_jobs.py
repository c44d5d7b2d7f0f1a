"""One contestant of the training-step benchmark at work, in a process of its own."""

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from longclip.model import CLIP, transformer
from longclip.model.stretch import stretch
from longclip.model.transformer import TextEmbeddings
from longclip.training.data import Batch
from longclip.training.distributed import World
from longclip.training.objectives import find_objective
from longclip.training.process import keep_freed_memory, peak_memory
from longclip.training.recipes import paper
from longclip.training.step import Stepper
from train_step_pairs import make_batch, pictures, shape
from train_step_peers import LR, PublishedStep, TransformersStep, use_plain_attention

LOGIT_SCALE = 100.0
"""What fine-tuning starts from."""


@dataclass(frozen=True)
class Job:
    """Measurement of one process.

    Attributes:
        contestant: longclip, published or transformers, the latter two also ", plain attention".
        architecture: a name.
        depth: layers of each tower; 0 for all.
        batch_size: pairs.
        warm_up: pairs of a step before those that are timed; 0 for no such step.
        steps: timed ones.
        micro_batch: of ours, as `logit_rows`, `activation_checkpointing` and `compile`.
        device: cpu or cuda.
        float32: all arithmetic, to compare results.
        smoothing: of labels; None for what each does by itself.
        trick: what ours is to go without.
        profile: tell where a step spends its time instead.
    """

    contestant: str
    architecture: str
    depth: int
    batch_size: int
    warm_up: int
    steps: int
    micro_batch: int
    logit_rows: int
    activation_checkpointing: bool
    compile: bool
    device: str
    float32: bool = False
    smoothing: float | None = None
    trick: str = ""
    profile: bool = False

    @property
    def name(self) -> str:
        """Return its name in a table."""
        return f"{self.contestant}, {self.trick}" if self.trick else self.contestant


def run(job: Job) -> dict[str, Any]:
    """Measure: seconds of each step, peak memory in bytes, and what the first step computed.

    On a CPU seconds are those that one thread computes, whatever else the machine does meanwhile.
    """
    if job.device == "cpu":
        torch.set_num_threads(1)
    if job.float32:
        torch.backends.cudnn.allow_tf32 = False  # torch's default for convolutions
    try:
        return _run(job)
    except torch.cuda.OutOfMemoryError:
        return {"failed": "out of memory"}


def _run(job: Job) -> dict[str, Any]:
    device = torch.device(job.device, 0) if job.device == "cuda" else torch.device(job.device)
    torch.manual_seed(0)
    model = CLIP(shape(job.architecture, job.depth))
    with torch.no_grad():
        model.logit_scale.fill_(torch.tensor(LOGIT_SCALE).log())
    contestant = _contestant(job, stretch(model).to(device))
    pixels = pictures(model.config, job.batch_size)
    if job.warm_up:
        contestant.take(contestant.prepare(make_batch(pixels[: job.warm_up], seed=0)))
    if job.profile:
        return {"profile": _profile(contestant, make_batch(pixels, seed=1), job.device)}
    seeds = range(1, job.steps + 1)
    found = [_timed(contestant, make_batch(pixels, seed), device) for seed in seeds]
    return {
        "seconds": [each.seconds for each in found],
        "loss": found[0].loss,
        "gradient": found[0].gradient,
        "memory": peak_memory(device),
        "pictures": pixels.nbytes,
    }


def _contestant(job: Job, model: CLIP) -> Any:
    name, _, attention = job.contestant.partition(", ")
    if attention:
        use_plain_attention()
    if name == "published":
        smoothing = 0.1 if job.smoothing is None else job.smoothing
        return PublishedStep(model, smoothing, bfloat16=not job.float32)
    if name == "transformers":
        return TransformersStep(model, job.smoothing or 0.0, bfloat16=not job.float32)
    return OurStep(job, model)


class OurStep:
    """The trainer's own step on the `paper` recipe."""

    def __init__(self, job: Job, model: CLIP) -> None:
        if model.device.type == "cpu" and job.trick != "memory returned":
            keep_freed_memory()
        _go_without(job.trick)
        config = replace(
            paper(),
            batch_size=job.batch_size,
            lr=LR,
            dtype="float32" if job.float32 else "bfloat16",
            micro_batch=job.micro_batch,
            logit_rows=job.logit_rows,
            activation_checkpointing=job.activation_checkpointing,
            compile=job.compile,
        )
        if job.smoothing is not None:
            config = replace(config, label_smoothing=job.smoothing)
        self.network = model
        self._stepper = Stepper(
            config, model, None, find_objective(config.objective), World(0, 1, model.device)
        )

    def prepare(self, batch: Batch) -> Batch:
        """Return the batch as the data loader gives it."""
        return batch

    def take(self, batch: Batch) -> float:
        """Learn from one batch; its loss."""
        return self._stepper.train_step(
            batch, [len(batch)], step=500, total=2000, measure=False
        ).loss


def _go_without(trick: str) -> None:
    if trick == "fused attention":
        transformer.attend = lambda query, key, value, *, causal=False, visible=None: (
            F.scaled_dot_product_attention(query, key, value, attn_mask=visible, is_causal=causal)
        )
    if trick == "lookup per micro-batch":
        TextEmbeddings.used_words = lambda self, ids: (None, ids)  # type: ignore[method-assign,assignment,return-value]


@dataclass(frozen=True)
class _Step:
    seconds: float
    loss: float
    gradient: float


def _timed(contestant: Any, batch: Batch, device: torch.device) -> _Step:
    prepared = contestant.prepare(batch)
    clock = time.process_time
    if device.type == "cuda":
        clock = time.perf_counter
        torch.cuda.synchronize(device)
    began = clock()
    loss = contestant.take(prepared)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return _Step(clock() - began, loss, _gradient_norm(contestant.network))


def _gradient_norm(network: nn.Module) -> float:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return float(torch.stack([torch.linalg.vector_norm(g) for g in gradients]).norm())


def _profile(contestant: Any, batch: Batch, device: str) -> str:
    """The operations, or on a GPU the kernels, that a step spends its time in."""
    from torch.profiler import ProfilerActivity, profile

    gpu = device == "cuda"
    prepared = contestant.prepare(batch)
    if gpu:
        torch.cuda.synchronize()
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as profiler:
        contestant.take(prepared)
        if gpu:
            torch.cuda.synchronize()
    wall = time.perf_counter() - began
    kind = "device" if gpu else "cpu"
    # Operations that start kernels carry the time of these too; it must count once.
    rows = [
        (getattr(row, f"self_{kind}_time_total") / 1e6, row.count, row.key)
        for row in profiler.key_averages()
        if row.device_type.name == device.upper() and not row.is_user_annotation
    ]
    busy = sum(seconds for seconds, _, _ in rows)
    lines = [
        f"{seconds:9.4f} s {seconds / busy:6.1%} {count:7} × {name[:100]}"
        for seconds, count, name in sorted(rows, reverse=True)[:30]
    ]
    return "\n".join([*lines, f"{busy:.3f} s of a step of {wall:.3f} s, profiler included"])
