"""Configuration of a reproduction. No heavy import: the command line reads it to print its help."""

from dataclasses import dataclass
from pathlib import Path

from longclip.options import check_options, device_option, images_option, option


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """What is reproduced, from which files, and where."""

    model: str = option(
        "What all of them start from: a model directory, a checkpoint file, a hub or short name.",
        "ViT-B/16",
    )
    base: str = option(
        "Its size in published tables, B/16 or L/14; known of models that `longclip models` lists.",
        "",
    )
    root: Path = option("Where data lie, a folder each, and are fetched to.", Path("data"))
    data: str = option(
        "Training data, in place of ShareGPT4V's json in ROOT/sharegpt4v: whatever "
        "`longclip train --data` takes.",
        "",
    )
    images: tuple[Path, ...] = images_option()
    out: Path | None = option("Directory of the results; runs/reproduce/EXPERIMENT.", None)
    download: bool = option("Fetch what the Hugging Face hub has and is not there.", False)
    allow_partial: bool = option(
        "Measure on benchmarks that are not complete, too; without published numbers beside them.",
        False,
    )
    gpus: int = option("Train on so many GPUs of this machine, by torchrun.", 1, least=1)
    epochs: float = option("Passes over the training data; 0 for the recipe's.", 0.0, least=0)
    steps: int = option("Stop each training after so many steps, to try it.", 0, least=0)
    limit: int = option("Train on the first so many pairs, to try it.", 0, least=0)
    batch_size: int = option("Pairs per step; 0 for the recipe's.", 0, least=0)
    micro_batch: int = option(
        "Pairs whose activations are in memory at once; 0 for all of a GPU's.", 0, least=0
    )
    seed: int = option("Of all trainings.", 0, least=0)
    device: str = device_option()

    def __post_init__(self) -> None:
        check_options(self)
