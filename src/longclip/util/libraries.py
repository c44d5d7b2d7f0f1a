"""Libraries that only some commands need, and how to install them where they are missing."""

import importlib.util

from longclip.errors import UsageError

REQUIREMENTS = {
    "diffusion": ("pipelines need", ("diffusers", "transformers")),
    "search": (
        "search needs",
        ("lancedb", "pyarrow", "fastapi", "uvicorn", "prometheus_client"),
    ),
    "siglip": ("the images of a SigLIP need", ("transformers",)),
    "openclip": ("the images of this model need", ("open_clip", "timm")),
    "export": ("ONNX files are written with", ("onnx", "onnxscript", "onnxruntime")),
    "onnx": ("the engine onnx needs", ("onnxruntime",)),
    "openvino": ("the engine openvino needs", ("openvino",)),
    "search,ray": ("embedding on a cluster needs", ("ray",)),
}
"""By the extras of longclip that install them: who needs modules, with the verb, and which."""


def require_libraries(extras: str) -> None:
    """Refuse to go on without the modules of some extras, before any of them is imported.

    Args:
        extras: a key of `REQUIREMENTS`.

    Raises:
        UsageError: if some are missing; names them and the command that installs them.
    """
    needed_by, modules = REQUIREMENTS[extras]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{needed_by} {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f'installed: pip install "longclip[{extras}]"'
        )
