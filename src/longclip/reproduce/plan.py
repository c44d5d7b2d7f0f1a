"""Plan of an experiment: what is there, what is fetched, what is trained, and how long it takes.

No torch here: a plan is printed before anything else happens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from longclip.checkpoints.catalogue import find_known_model
from longclip.checkpoints.model_names import BUNDLED
from longclip.errors import DataError, UsageError
from longclip.evaluation.benchmarks.catalogue import find_benchmark, locate
from longclip.model.architectures import ARCHITECTURES
from longclip.model.config import CLIPConfig, TowerConfig
from longclip.reproduce.config import ReproduceConfig
from longclip.reproduce.experiments import (
    EXPERIMENTS,
    SHAREGPT4V_FILE,
    SHAREGPT4V_HUB,
    SHAREGPT4V_IMAGES,
    SHAREGPT4V_PAIRS,
    Arm,
    Experiment,
    ExperimentName,
)

State = Literal["there", "done", "to do", "to go on with", "to fetch", "missing"]

_DATA_FOLDERS = ("sharegpt4v", "ShareGPT4V", "sharegpt4v-1k")
_TOKENS_OF_A_PAIR = 173 + 21
"""Real tokens of a long text and of a short one, in ShareGPT4V's mean."""

_FLOPS_A_SECOND = 0.35 * 312e12
"""What training is taken to reach of an A100's dense bfloat16: a guess, as none has been timed."""


@dataclass(frozen=True)
class Item:
    """One line of a plan."""

    what: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """What an experiment needs and does.

    Attributes:
        name: of the experiment.
        config: what was asked for.
        out: directory of the results.
        base: size of the model in published tables; empty where it is not known.
        data: training data, as `longclip train --data` takes it.
        images: folders that its paths start from.
        benchmarks: those that are there or will be fetched.
        items: all of it, in order.
        obstacles: why it cannot be carried out, with the remedy; empty where it can.
    """

    name: ExperimentName
    config: ReproduceConfig
    out: Path
    base: str
    data: str
    images: tuple[Path, ...]
    benchmarks: tuple[str, ...]
    items: tuple[Item, ...]
    obstacles: tuple[str, ...] = ()

    @property
    def experiment(self) -> Experiment:
        """Return what it is a plan of."""
        return EXPERIMENTS[self.name]

    def lines(self) -> list[str]:
        """Return the plan in words."""
        width = max(len(item.what) for item in self.items)
        return [
            f"{self.name}: {self.experiment.title}",
            *(
                f"  {item.what:{width}}  {item.state}{f': {item.detail}' if item.detail else ''}"
                for item in self.items
            ),
            "  Benchmarks that are missing are left out of the tables.",
            *(f"  It cannot begin: {why}." for why in self.obstacles),
            f"  Results go into {self.out}; the same command goes on from where it was stopped.",
        ]


def make_plan(name: ExperimentName, config: ReproduceConfig) -> Plan:
    """Find out what is there, and what is to be done; nothing is fetched or changed.

    Where there is no training data, and it is not to be fetched, or nothing to measure on, the plan
    has `obstacles`. What is missing of several benchmarks is left out, as it says.

    Raises:
        UsageError: if there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise UsageError(f"there is no experiment {name}, only {', '.join(EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    out = config.out or Path("runs/reproduce") / name
    known = find_known_model(config.model)
    base = config.base
    if not base and known and known.published:
        base = known.published.rpartition(" ")[2]
    licence = f", {known.licence}" if known and known.licence else ""
    size = f"a {base}" if base else "of unknown size: no published numbers beside it (--base)"
    is_here = Path(config.model).exists() or config.model in BUNDLED
    items = [Item(f"model {config.model}", "there" if is_here else "to fetch", size + licence)]
    data, images, item = _training_data(config)
    items.append(item)
    obstacles = []
    if item.state == "missing":
        obstacles.append(
            f"there is no training data in {config.root}; fetch its list with --download, or name "
            "other data with --data"
        )
    measured = []
    for benchmark in experiment.benchmarks:
        item = _benchmark(benchmark, config)
        items.append(item)
        if item.state != "missing":
            measured.append(benchmark)
    if not measured:
        obstacles.append(
            f"{name} measures on {', '.join(experiment.benchmarks)}, and none of them is in "
            f"{config.root}; get one (longclip benchmarks NAME says how), name the folder with "
            "--root, or fetch those that the hub has with --download"
        )
    hours = _gpu_hours(base, config)
    items += [
        _training(arm.name, out, hours * (config.epochs or arm.recipe.epochs))
        for arm in experiment.arms
        if arm.recipe is not None
    ]
    return Plan(
        name, config, out, base, data, images, tuple(measured), tuple(items), tuple(obstacles)
    )


def result_file(out: Path, arm: Arm, benchmark: str) -> Path:
    """Return where the result of a model on a benchmark is kept."""
    return out / "results" / f"{arm.name}-{benchmark}.json"


def _training_data(config: ReproduceConfig) -> tuple[str, tuple[Path, ...], Item]:
    if config.data:
        return config.data, config.images, Item(f"training data {config.data}", "there")
    for folder in (*(config.root / name for name in _DATA_FOLDERS), config.root):
        file = folder / SHAREGPT4V_FILE
        if file.is_file():
            what = f"training data {file}"
            return str(file), (*config.images, config.root), Item(what, "there")
    file = config.root / _DATA_FOLDERS[0] / SHAREGPT4V_FILE
    advice = (
        f"{SHAREGPT4V_FILE} (1.5 GB, captions CC BY-NC 4.0) of {SHAREGPT4V_HUB} on the hub; its "
        f"pictures are to be got by hand, in {config.root} under the paths that it names: "
        f"{SHAREGPT4V_IMAGES}"
    )
    item = Item("training data ShareGPT4V", "to fetch" if config.download else "missing", advice)
    return str(file), (*config.images, config.root), item


def _benchmark(name: str, config: ReproduceConfig) -> Item:
    benchmark = find_benchmark(name)
    try:
        return Item(name, "there", str(locate(benchmark, config.root)))
    except DataError:
        detail = f"{benchmark.size}; {benchmark.licence}"
    if config.download and benchmark.hub:
        return Item(name, "to fetch", f"{benchmark.hub} on the hub, {detail}")
    return Item(name, "missing", f"{benchmark.get} ({detail})")


def _training(arm: str, out: Path, hours: float) -> Item:
    what = f"training {arm}"
    if (out / arm / "model").exists():
        return Item(what, "done")
    about = f"about {hours:.1f} hours on one A100 (computed, not timed)" if hours else ""
    begun = any((out / arm / "checkpoints").glob("*"))
    return Item(what, "to go on with" if begun else "to do", about)


def _gpu_hours(base: str, config: ReproduceConfig) -> float:
    """Return hours of one GPU for an epoch, by arithmetic; 0 where the model's shape is unknown."""
    shape = ARCHITECTURES.get(f"ViT-{base}")
    if shape is None or config.data or config.steps or config.limit:
        return 0.0
    return SHAREGPT4V_PAIRS * _flops_of_a_pair(shape) / _FLOPS_A_SECOND / 3600


def _flops_of_a_pair(shape: CLIPConfig) -> float:
    """Return floating-point operations of a training step for each pair: three forward passes."""

    def passes(tower: TowerConfig, tokens: int) -> float:
        # Of each token: 12 W² weights a layer, and scores and sums with every other token.
        width, layers = tower.hidden_size, tower.num_hidden_layers
        return layers * tokens * (24 * width**2 + 4 * width * tokens)

    vision, text = shape.vision, shape.text
    assert isinstance(vision, TowerConfig)
    assert text
    return 3 * (passes(vision, vision.patches) + passes(text, _TOKENS_OF_A_PAIR))
