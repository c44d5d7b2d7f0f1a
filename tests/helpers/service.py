"""A small database of pictures, and a server of it in a thread."""

import base64
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import uvicorn
from PIL import Image, ImageDraw

from longclip.model import CLIP
from longclip.search.database.schema import About, Facts, ImageRow
from longclip.search.database.store import Store
from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig
from longclip.search.service.server import listen, make_server

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("square", "circle", "cross")
HOSTILE = '<img src=x onerror="alert(1)">.png'
SUFFIXES = (".png", ".jpg", ".webp", ".tiff")
PATIENCE = 60
"""Seconds."""


def picture(number: int) -> Image.Image:
    colour, shape = COLOURS[number % 6], SHAPES[number % 3]
    image = Image.new("RGB", (96, 64 + number), "white")
    draw = ImageDraw.Draw(image)
    box = (20, 10, 76, 54)
    if shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "circle":
        draw.ellipse(box, fill=colour)
    else:
        draw.line(box, fill=colour, width=9)
    return image


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def data_url(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encoded(image, "PNG")).decode()


def row(path: Path, model: CLIP) -> ImageRow:
    with Image.open(path) as image:
        image.load()
        vector = model.encode_image(image.convert("RGB"), normalize=True)[0].numpy()
        facts = Facts(
            uri=str(path),
            source=str(path.parent),
            folder=str(path.parent),
            name=path.name,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            bytes=path.stat().st_size,
            width=image.width,
            height=image.height,
            format=image.format or "",
            caption="<script>alert(1)</script>",
        )
        return ImageRow(facts, vector.astype(np.float32), encoded(image.convert("RGB")))


def make_database(folder: Path, model: CLIP, count: int = 24) -> Store:
    photos = folder / "photos"
    photos.mkdir()
    for number in range(count):
        name = HOSTILE if number == 0 else f"{number:02}{SUFFIXES[number % 4]}"
        picture(number).save(photos / name)
    store = Store.create(str(folder / "db"), About.of(model, "nano"))
    store.put([row(path, model) for path in sorted(photos.iterdir())])
    return store


@dataclass(frozen=True)
class Served:
    url: str
    server: uvicorn.Server
    thread: threading.Thread

    def client(self, **options: object) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60, verify=False, **options)  # type: ignore[arg-type]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=PATIENCE)
        assert not self.thread.is_alive()


def until(is_so: Callable[[], bool]) -> None:
    """Wait; what never comes is a failure and no endless run."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.01)


@contextmanager
def serving(searcher: Searcher, config: ServeConfig | None = None) -> Iterator[Served]:
    config = config or ServeConfig(port=0)
    listener = listen("127.0.0.1", 0)
    server = make_server(searcher, config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started
    served = Served(f"http://127.0.0.1:{listener.getsockname()[1]}", server, thread)
    try:
        yield served
    finally:
        served.stop()
