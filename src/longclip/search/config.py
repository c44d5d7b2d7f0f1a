"""Configuration of indexing, of its cluster and of queries.

No torch here: the command line reads this to print its help.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from longclip.errors import UsageError
from longclip.options import (
    EngineDtype,
    bad_fraction_option,
    check_options,
    device_option,
    dtype_option,
    engine_option,
    option,
)
from longclip.search.query import DEFAULT_COUNT, MAX_COUNT
from longclip.spec import MAX_PIXELS, MAX_WORKERS, Engine


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Settings with which `longclip.search.index` brings a database up to date."""

    rebuild: bool = option(
        "Embed everything anew, all earlier sources too: for another model. If it is stopped, go "
        "on without this option.",
        False,
    )
    keep_deleted: bool = option("Do not forget images that are gone.", False)
    max_pixels: int = option("Largest width times height of an image.", MAX_PIXELS, least=1)
    thumbnail: int = option(
        "Longest side of the small pictures that are kept, in pixels.", 256, least=1
    )
    batch_size: int = option("Images per forward pass.", 64, least=1)
    workers: int | None = option(
        "Threads that read and decode; one per processor, at most 32, where not given. With ray "
        "they are not looked at.",
        None,
        least=1,
        most=MAX_WORKERS,
    )
    max_bad_fraction: float = bad_fraction_option(
        0.1,
        "More than for training and evaluation, as a folder of somebody's photos holds more broken "
        "files than a data set.",
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Options of `longclip search`: the database, the model, and which images are looked for."""

    db: str = option("A database that `longclip index` has made: a directory or a URL.")
    image: Path | None = option("A picture that what is found should resemble.", None)
    like: str | None = option(
        "An image of the database in its place, by path, URL or id; it is not found itself.", None
    )
    without: Annotated[tuple[str, ...], Parameter(name="--not", allow_leading_hyphen=True)] = (
        option("What is not to be seen. Repeat the option for several.", ())
    )
    where: str | None = option(
        "A condition on what is known of images: `width > 1000 AND camera LIKE 'Nikon%'`.",
        None,
    )
    folder: str | None = option("Only images in this folder or below.", None)
    after: str | None = option("Only photos taken then or later: 2024, 2024-05, 2024-05-31.", None)
    before: str | None = option("Only photos taken earlier than that.", None)
    count: Annotated[int, Parameter(name=("--count", "-k"))] = option(
        "Number of images.", DEFAULT_COUNT, least=1, most=MAX_COUNT
    )
    text_share: float | None = option(
        "From 0 to 1, what the text counts for beside a picture; half where not given.",
        None,
        least=0,
        most=1,
    )
    exact: bool = option("Compare with every image, even where there is an index.", False)
    score_sentences: Annotated[bool, Parameter(name="--why", negative="--no-why")] = option(
        "Compare each sentence with each image.", True
    )
    sheet: Path | None = option("Draw the images that are found into a .png file there.", None)
    open: bool = option("Show them in the program that this machine shows pictures with.", False)
    model: str | None = option(
        "Where the model is that the database was made with, if it has moved.", None
    )
    engine: Engine = engine_option()
    device: str = device_option()
    dtype: EngineDtype = dtype_option("float32; of ONNX files what there is, if not that")

    def __post_init__(self) -> None:
        check_options(self)
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise UsageError(
                f"--sheet {self.sheet}: contact sheets are PNG files; name one, like found.png"
            )


@dataclass(frozen=True)
class Cluster:
    """The place where `longclip.search.index` embeds with Ray Data.

    Attributes:
        address: of a running cluster, as `ray.init` takes it: `auto` on one of its machines, or
            HOST:PORT. Without, one is started on this machine and stopped at the end. A Ray that
            the program has started itself is used as it is.
        device: where the model runs on the workers: `cpu` or `cuda`.
        encoders: processes that hold the model. Without: as many as the cluster has GPUs, or
            processors where the model runs on those.
        images_per_task: how many are read and decoded in one task.
    """

    address: str | None = None
    device: str = "cpu"
    encoders: int | None = None
    images_per_task: int = 64

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise UsageError(f"on a cluster the device is cpu or cuda, not {self.device!r}")
        for name in ("encoders", "images_per_task"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
