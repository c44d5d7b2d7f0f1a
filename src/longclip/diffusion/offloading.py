"""Offloading to the CPU, taken off a pipeline while its parts change.

Accelerate's and diffusers' offloading replaces forward methods and keeps weights elsewhere, even
on no device at all; a module cannot be copied or exchanged under it.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from longclip.diffusion.families import Slot
from longclip.errors import UsageError


@contextmanager
def offloading_off(pipeline: Any, slots: tuple[Slot, ...]) -> Iterator[None]:
    """Takes offloading off and puts it back on what is in the slots then, on the same device.

    Raises:
        ValueError: if the pipeline is spread over devices by a device map.
    """
    hooked = [part for part in _modules(pipeline) if hasattr(part, "_hf_hook")]
    if hooked and getattr(pipeline, "hf_device_map", None) is not None:
        raise UsageError(
            "this pipeline is spread over devices by its device_map; "
            "call pipeline.reset_device_map() first, and place it again afterwards"
        )
    whole = any(_moves_whole_models(part._hf_hook) for part in hooked)
    if hooked:
        device = pipeline._execution_device
        pipeline.remove_all_hooks()
    groups = {slot.name: _take_group_offloading(getattr(pipeline, slot.name)) for slot in slots}
    try:
        yield
    finally:
        for name, config in groups.items():
            if config is not None:
                _group_offload(getattr(pipeline, name), config)
        if whole:
            pipeline.enable_model_cpu_offload(device=device)
        elif hooked:
            pipeline.enable_sequential_cpu_offload(device=device)


def _modules(pipeline: Any) -> list[Any]:
    return [part for part in pipeline.components.values() if hasattr(part, "named_parameters")]


def _moves_whole_models(hook: Any) -> bool:
    hooks: Any = importlib.import_module("accelerate.hooks")
    return isinstance(hook, hooks.CpuOffload)


def _take_group_offloading(encoder: Any) -> Any:
    """The settings of an encoder's group offloading, which it then has no more; None without."""
    try:
        from diffusers.hooks import group_offloading as group
        from diffusers.hooks.hooks import HookRegistry
    except ImportError:  # diffusers before 0.33 has none
        return None
    hook = group._get_top_level_group_offload_hook(encoder)
    if hook is None:
        return None
    registry = HookRegistry.check_if_exists_or_initialize(encoder)
    for name in (
        group._GROUP_OFFLOADING,
        group._LAYER_EXECUTION_TRACKER,
        group._LAZY_PREFETCH_GROUP_OFFLOADING,
    ):
        registry.remove_hook(name, recurse=True)
    return hook.config


def _group_offload(encoder: Any, config: Any) -> None:
    from diffusers.hooks import group_offloading as group

    group._apply_group_offloading(encoder, config)
