"""What other installed packages offer to longclip, by groups of entry points."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from longclip.errors import UsageError

ENCODERS = "longclip.encoders"
"""A callable that takes what stands behind `NAME:` and `device=`, and returns an `Encoder`."""

RECIPES = "longclip.recipes"
"""A function without arguments that returns a `TrainConfig`."""

OBJECTIVES = "longclip.objectives"
"""A `longclip.training.objectives.Objective`."""

BENCHMARKS = "longclip.benchmarks"
"""A `longclip.evaluation.benchmarks.Benchmark`."""


def plugins(group: str) -> dict[str, EntryPoint]:
    """Return what packages offer in a group, by name; nothing of it is imported yet."""
    return {found.name: found for found in entry_points(group=group)}


def load_plugin(plugin: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        UsageError: if that fails; names the package's module.
    """
    try:
        return plugin.load()
    except Exception as error:  # whatever a module of others may do
        raise UsageError(
            f"{plugin.name} of the group {plugin.group} comes from {plugin.value}, which cannot be "
            f"imported: {type(error).__name__}: {error}"
        ) from error
