"""Directories that look as runs leave them, without a run."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from longclip.runs.writer import WRITER, Writer
from longclip.util.sealed_json import write_sealed

CONFIG = {
    "longclip": "0.1.0",
    "recipe": "paper",
    "model": "nano",
    "data": ["scenes"],
    "out": "runs/x",
    "steps": 100,
    "batch_size": 8,
    "lr": 1e-4,
    "seed": 0,
    "pcm": True,
}


def line(step: int, **more: Any) -> dict[str, Any]:
    """A step takes half a second, of which a tenth is waiting."""
    return {
        "step": step,
        "loss": 2.0 + 1 / step,
        "lr": 1e-4,
        "pairs": 8 * step,
        "seconds": 0.5 * step,
        "data_wait_seconds": 0.5,
        "bad": 0,
        **more,
    }


def lines_to(step: int) -> list[dict[str, Any]]:
    """A line every ten steps."""
    return [line(s) for s in range(10, step + 1, 10)]


def measured(step: int, value: float, name: str = "val long T2I R@1") -> dict[str, Any]:
    return {"step": step, "evaluation": {name: value}}


def make_run(
    path: Path,
    lines: Iterable[Mapping[str, Any]] = (),
    *,
    model: bool = False,
    checkpoint: int = 0,
    written: float | None = None,
    tail: str = "",
    state: str = "killed",
    reason: str = "",
    **settings: Any,
) -> Path:
    """A run as it is found; with a model it is finished.

    `written` is when it last wrote, in seconds since the epoch; `tail` ends its metrics; `reason`
    is why it failed or stopped.
    """
    path.mkdir(parents=True)
    config = CONFIG | {"out": str(path)} | settings
    write_sealed(path / "config.json", config)
    text = "".join(json.dumps(values) + "\n" for values in lines)
    (path / "metrics.jsonl").write_text(text + tail)
    if checkpoint:
        (path / "checkpoints" / f"step-{checkpoint:08d}").mkdir(parents=True)
    if model:
        (path / "model").mkdir()
        (path / "model" / "config.json").write_text('{"model_type": "clip"}')
    if written is not None:
        for file in [path, *path.rglob("*")]:
            os.utime(file, (written, written))
    # Of a process elsewhere, of which only the time of this file says that it lives.
    ended = {"running": "", "killed": ""}.get(state, state)
    writer = Writer(4321, "elsewhere", "2026-01-02 03:04:05", ended, reason)  # type: ignore[arg-type]
    (path / WRITER).write_text(json.dumps(asdict(writer)))
    if state != "running":
        os.utime(path / WRITER, (1e9, 1e9))
    return path
