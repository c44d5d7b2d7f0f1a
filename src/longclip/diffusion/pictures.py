"""PNG files that hold how they were made, and the words for it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from longclip.errors import ImageError, UsageError
from longclip.util.files import atomic_path, check_writable


def picture_paths(out: Path, count: int, *, overwrite: bool) -> list[Path]:
    """Return the files of `count` pictures: `out` itself, or `out` with `-1`, `-2` … in its name.

    Raises:
        UsageError: if it is no .png file, a file is there and not to be overwritten, or none can
            be written.
    """
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: name a file that ends in .png")
    numbered = [out.with_stem(f"{out.stem}-{number}") for number in range(1, count + 1)]
    paths = [out] if count == 1 else numbered
    for path in paths:
        check_writable(path)
        if path.exists() and not overwrite:
            raise UsageError(f"{path} is there already; name another file or add --overwrite")
    return paths


def write_png(path: Path, image: Image.Image, facts: Mapping[str, Any]) -> None:
    """Write a picture with what it was made from, whole or not at all.

    The text chunk `longclip` has all facts as JSON; `parameters` has those that the Stable
    Diffusion web UI knows, as it writes them, so that programs which read its pictures read these.

    Args:
        path: of the file.
        image: the picture.
        facts: everything it was made from, as `generation.generate` returns it.
    """
    chunks = PngInfo()
    chunks.add_text("parameters", parameters(facts))
    chunks.add_text("longclip", json.dumps(facts, ensure_ascii=False))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=chunks)


def read_facts(path: str | Path) -> dict[str, Any]:
    """Read from a picture everything it was made from: prompt, seed, model, encoders, versions …

    Raises:
        ImageError: if it cannot be opened as a PNG file.
        UsageError: if the picture has no such text chunk.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            text = getattr(image, "text", {}).get("longclip")
    except OSError as error:
        reason = error.strerror or "it is no PNG file, which `longclip generate` writes"
        raise ImageError(f"{path} cannot be read: {reason}") from error
    if text is None:
        raise UsageError(f"{path} was not made by `longclip generate`: it has no such text chunk")
    facts: dict[str, Any] = json.loads(text)
    return facts


def parameters(facts: Mapping[str, Any]) -> str:
    """Return the facts in the Stable Diffusion web UI's words."""
    settings = {
        "Steps": facts["steps"],
        "Sampler": facts["scheduler"],
        "CFG scale": facts["guidance"],
        "Seed": facts["seed"],
        "Size": f"{facts['width']}x{facts['height']}",
        "Model": Path(facts["model"]).name,
    }
    if facts["clip_skip"] is not None:
        # The web UI calls the last layer 1; diffusers calls it None, and the one before it 1.
        settings["Clip skip"] = facts["clip_skip"] + 1
    settings["Version"] = f"longclip {facts['versions']['longclip']}"
    lines = [facts["prompt"]]
    if facts["negative"]:
        lines.append(f"Negative prompt: {facts['negative']}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def caption(facts: Mapping[str, Any]) -> str:
    """Return the facts that stand below two pictures of a prompt, on one line."""
    parts = [
        facts["model"],
        *(f"{name}: {source}" for name, source in facts["text_encoders"].items()),
        f"seed {facts['seed']}, {facts['steps']} steps, guidance {facts['guidance']:g}",
    ]
    if facts["negative"]:
        parts.append(f"negative: {facts['negative']}")
    return " · ".join(parts)
