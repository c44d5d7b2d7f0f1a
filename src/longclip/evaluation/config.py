"""Configuration of an evaluation. No torch here: the command line reads this."""

from dataclasses import dataclass
from typing import Annotated

from longclip.options import NOT_AN_OPTION, bad_fraction_option, check_options, option
from longclip.spec import MAX_WORKERS, Task


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Tasks and settings of an evaluation; `batch_size` and `workers` change no number.

    Attributes:
        tasks: what to measure, as far as the collection has it.
        ks: K of recall at K.
    """

    tasks: Annotated[tuple[Task, ...], NOT_AN_OPTION] = ("long", "short", "zero-shot", "choice")
    ks: Annotated[tuple[int, ...], NOT_AN_OPTION] = (1, 5, 10)
    max_bad_fraction: float = bad_fraction_option()
    probes: bool = option(
        "Also measure what recall hides, on long texts: recall by length, without and with "
        "shuffled sentences, details that differ, separation, and whether true sentences raise the "
        "score and false ones lower it; for --report, --results and --json. Ten times the texts.",
        False,
    )
    batch_size: int = option("Images per forward pass.", 64, least=1)
    workers: int | None = option(
        "Threads that decode pictures; one per processor where not given.",
        None,
        least=1,
        most=MAX_WORKERS,
    )

    def __post_init__(self) -> None:
        check_options(self)
