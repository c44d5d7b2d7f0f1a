"""Pictures on disk that say how they were made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from longclip.errors import UsageError
from longclip.util.files import atomic_path


def write_png(path: Path, image: Image.Image, facts: Mapping[str, Any]) -> None:
    """Write a picture with what it was made from, whole or not at all.

    The text chunk `longclip` has all facts as JSON; `parameters` has those that the Stable
    Diffusion web UI knows, as it writes them, so that programs which read its pictures read these.

    Args:
        path: where.
        image: the picture.
        facts: as `generating.facts_of` makes them.
    """
    chunks = PngInfo()
    chunks.add_text("parameters", parameters(facts))
    chunks.add_text("longclip", json.dumps(facts, ensure_ascii=False))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=chunks)


def read_facts(path: str | Path) -> dict[str, Any]:
    """What `write_png` wrote.

    Raises:
        ValueError: if the picture says nothing of the kind.
    """
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get("longclip")
    if text is None:
        raise UsageError(f"{path} was not made by `longclip generate`: it has no such text chunk")
    facts: dict[str, Any] = json.loads(text)
    return facts


def parameters(facts: Mapping[str, Any]) -> str:
    """The facts in the Stable Diffusion web UI's words."""
    settings = {
        "Steps": facts["steps"],
        "Sampler": facts["scheduler"],
        "CFG scale": facts["guidance"],
        "Seed": facts["seed"],
        "Size": f"{facts['width']}x{facts['height']}",
        "Model": Path(facts["model"]).name,
    }
    if facts["clip_skip"] is not None:
        # There 1 is the last layer, where diffusers has None and calls the one before it 1.
        settings["Clip skip"] = facts["clip_skip"] + 1
    settings["Version"] = f"longclip {facts['versions']['longclip']}"
    lines = [facts["prompt"]]
    if facts["negative"]:
        lines.append(f"Negative prompt: {facts['negative']}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)
