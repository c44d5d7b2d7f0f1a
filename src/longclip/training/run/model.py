"""The model of a run: what it starts from, which of its weights learn, and what is left of it."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from longclip import __version__
from longclip.checkpoints.hub import README, Card, fetch, read_card, source_name
from longclip.checkpoints.model_names import BUNDLED, is_hub_id
from longclip.errors import CheckpointError, TrainingError, UsageError
from longclip.model import CLIP, load, save
from longclip.model.average import average
from longclip.model.image_tower import ForeignImageTower
from longclip.model.pretrained import bundled_path, place, untrained
from longclip.model.stretch import lengthen, why_this_length
from longclip.spec import POSITION_TABLE, Tower
from longclip.training.config import TrainConfig
from longclip.training.forward import ParallelTowers
from longclip.training.lora import add_lora, merge_lora
from longclip.training.schedule import peak_lr
from longclip.util.files import write_text

_LEARNED = {
    "image": ("vision_model.", "visual_projection.", "logit_scale", "logit_bias"),
    "text": ("text_model.", "text_projection.", "logit_scale", "logit_bias"),
    "positions": (POSITION_TABLE,),
}

_NO_SETTINGS = {"recipe", "model", "scratch", "data", "images", "long_teacher"}
"""Options that a card does not list: it names them above its settings, or they are paths."""

_USE_OF = {
    "clip": """```python
from transformers import CLIPModel, CLIPProcessor

model, processor = CLIPModel.from_pretrained("."), CLIPProcessor.from_pretrained(".")
```""",
    "siglip": """```python
from transformers import AutoTokenizer, SiglipImageProcessor, SiglipModel

model, tokenizer = SiglipModel.from_pretrained("."), AutoTokenizer.from_pretrained(".")
processor = SiglipImageProcessor.from_pretrained(".")
texts = tokenizer(["…"], padding="max_length", truncation=True, return_tensors="pt")
```""",
    "metaclip_2": """```python
from transformers import AutoModel, AutoProcessor

model, processor = AutoModel.from_pretrained("."), AutoProcessor.from_pretrained(".")
```""",
    "open_clip": """```python
import open_clip

model, preprocess = open_clip.create_model_from_pretrained("local-dir:.")
tokenizer = open_clip.get_tokenizer("local-dir:.")
```""",
}
_USE = """From the folder of this file, or with the name of its repository in place of the dot:

{owner}

```python
import longclip

model = longclip.load(".")
```"""


def original_model(config: TrainConfig) -> CLIP:
    """Load the model that a run starts from, unchanged, or draw random weights; on the CPU.

    Raises:
        ValueError: if it cannot be loaded or is one tower alone.
    """
    torch.manual_seed(config.seed)
    model = untrained(config.scratch) if config.scratch else load(config.model)
    if not model.config.whole:
        raise UsageError(
            f"{config.model} is one tower of a CLIP alone; training matches images with texts and "
            "takes both"
        )
    return model


def initial_model(config: TrainConfig, device: torch.device | str = "cpu") -> CLIP:
    """Load that model, stretch it as the run wants it, and place it on its device.

    Raises:
        ValueError: if it cannot be loaded, stretched so, or placed there.
    """
    model = original_model(config)
    if config.stretch != "none":
        model = lengthen(model, config.context_length or None, config.keep, config.stretch)
    if config.logit_scale:
        with torch.no_grad():
            model.logit_scale.fill_(torch.tensor(config.logit_scale).log())
    return place(model, device)


def choose_what_learns(model: CLIP, config: TrainConfig) -> None:
    """Freeze all that `config.learn` leaves out, and weights that low-rank changes stand in for.

    Raises:
        ValueError: if the towers are too narrow for `config.lora_rank`.
    """
    if config.learn != "all":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(_LEARNED[config.learn]))
    if config.lora_rank:
        assert config.learn != "positions"
        # Beside low-rank changes only text positions, the temperature and the bias learn.
        names = (POSITION_TABLE, "logit_scale", "logit_bias")
        learned = [p for n, p in model.named_parameters() if n in names and p.requires_grad]
        model.requires_grad_(False)
        # In this order the matrices are drawn from the generator: another is another run.
        both: tuple[Tower, ...] = ("image", "text")
        towers = both if config.learn == "all" else (config.learn,)
        add_lora(model, config.lora_rank, config.lora_alpha, towers=towers)
        for parameter in learned:
            parameter.requires_grad_()
    if config.compile:
        # Layer by layer and not whole towers: alike layers share what is compiled of one.
        for layer in model.layers():
            layer.compile(dynamic=True)


def position_table(model: CLIP) -> torch.nn.Parameter:
    """Return the text position embeddings, [context length, width]."""
    return cast(torch.nn.Parameter, model.text_model.embeddings.position_embedding.weight)


@torch.no_grad()
def whole_model(parallel: ParallelTowers, config: TrainConfig) -> CLIP | None:
    """Return the model in one piece, to be read and not changed.

    Where weights are sharded they are brought together in the first process, in host memory; the
    others get None, and must call this too.
    """
    model = parallel.towers.clip
    if not parallel.sharded:
        return model
    weights: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        # One after the other: on the GPUs there is room for one whole tensor, not for all. Every
        # process takes part in bringing it together, and only the first one keeps it.
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if parallel.world.first:
            weights[name] = whole.cpu()
    if not parallel.world.first:
        return None
    gathered = CLIP(model.config, model.preprocess, model.tokenizer_files)
    if isinstance(gathered.vision_model, ForeignImageTower):
        start = "vision_model.tower."
        images = {n.removeprefix(start): w for n, w in weights.items() if n.startswith(start)}
        gathered.vision_model.hold(images)
    choose_what_learns(gathered, config)  # low-rank pairs are parameters with names of their own
    gathered.load_state_dict(weights)
    return gathered


def check_finite(parallel: ParallelTowers) -> None:
    """Check that the last steps did not end in weights that are no numbers.

    Raises:
        TrainingError: if they did; in all processes.
    """
    finite = [
        (p.to_local() if isinstance(p, DTensor) else p).isfinite().all()
        for p in parallel.towers.clip.parameters()
    ]
    broken = int(not bool(torch.stack(finite).all()))
    if any(found for [found] in parallel.world.gather_numbers(broken)):
        raise TrainingError(
            "the weights are no longer finite: training has diverged at its end; start again with "
            "a lower --lr"
        )


def write_model(
    parallel: ParallelTowers, config: TrainConfig, path: Path, *, step: int, bad: int
) -> CLIP | None:
    """Save the model of a finished run and return it, in the first process; None in all others.

    Low-rank changes are merged and, where the run asks for it, weights are averaged with the
    stretched original (WiSE-FT, Wortsman et al. 2022): a stock CLIP in any case.
    """
    model = whole_model(parallel, config)
    if model is None or not parallel.world.first:
        return None
    if config.lora_rank:
        model = copy.deepcopy(model)
        merge_lora(model)
    if config.wise_ft:
        device = model.device  # it is going to be measured, which takes long on a CPU
        model = average(model.cpu(), initial_model(config), config.wise_ft).to(device)
    save(model.eval(), path, card=_card(config, model, steps=step, bad=bad))
    return model


def write_card(
    config: TrainConfig,
    model: CLIP,
    path: Path,
    *,
    step: int,
    bad: int,
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> None:
    """Write the README.md of a run's model anew, with what was measured before and after."""
    write_text(path / README, _card(config, model, steps=step, bad=bad, before=before, after=after))


def _card(
    config: TrainConfig,
    model: CLIP,
    *,
    steps: int,
    bad: int,
    before: Mapping[str, float] = MappingProxyType({}),
    after: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """Return Markdown for the README.md of a run's model; `bad` items were left out."""
    scratch = config.scratch and f"random weights ({source_name(config.scratch)})"
    facts = {
        "started from": scratch or source_name(config.model),
        "recipe": config.recipe,
        "data": ", ".join(map(source_name, config.data)),
        "steps × pairs": f"{steps:,} × {config.batch_size:,}",
        "peak learning rate": f"{peak_lr(config):.3g}",
        "items left out as unusable": str(bad),
    }
    if config.stretch != "none":
        why = why_this_length(model.context_length, named=bool(config.context_length))
        facts["tokens"] = f"{model.context_length} ({why})"
    if model.config.logit_bias:
        settled = config.with_losses_of(logit_bias=True)
        losses = {"long": settled.long_loss, "short": settled.short_loss}
        stated = (f"{name} texts {loss}" for name, loss in losses.items() if loss != "auto")
        facts["losses"] = ", ".join(stated)
    layout = model.config.layout
    sections = {"Use": _USE.format(owner=_USE_OF[layout])}
    if after:
        rows = (
            f"| {name} | {_percent(before.get(name))} | {_percent(value)} |"
            for name, value in after.items()
        )
        head = "| | before training, % | after, % |\n|---|---:|---:|"
        sections["Results"] = "\n".join([head, *rows])
    settings = "\n".join(
        f"- `{option.name}`: {getattr(config, option.name)}"
        for option in fields(config)
        if not (option.metadata["resumable"] or option.name in _NO_SETTINGS)
        and getattr(config, option.name) != option.default
    )
    if settings:
        sections["Settings other than the defaults"] = settings
    licence, base = (None, None) if config.scratch else _origin(config.model)
    return Card(
        title=config.out.name or "model",
        introduction=f"A CLIP trained by longclip {__version__}.",
        facts=facts,
        library="open_clip" if layout == "open_clip" else "transformers",
        sections=sections,
        licence=licence,
        base_model=base,
        task="zero-shot-image-classification",
    ).text()


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _origin(model: str) -> tuple[str | None, str | None]:
    """Return the licence of the model that a run starts from, and its name if it is on the hub."""
    path = bundled_path(model) if model in BUNDLED else Path(model)
    base = None
    if not path.exists() and is_hub_id(model):
        base = "/".join(model.split("/")[:2])
        with suppress(CheckpointError):  # it was fetched at the start; what is cached is enough
            path = fetch(model)
    return read_card(path if path.is_dir() else path.parent)[0], base
