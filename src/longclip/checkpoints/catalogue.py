"""Catalogue of published models that are known to load, with a short name for each.

The data is `known_models.toml` beside this file. No torch here.
"""

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

from longclip.errors import CheckpointError

FAMILIES = (
    "CLIP",
    "Long-CLIP",
    "FG-CLIP",
    "LAION-2B",
    "DataComp",
    "DFN",
    "EVA-02",
    "MetaCLIP",
    "MetaCLIP 2",
    "SigLIP",
    "SigLIP 2",
    "PE-Core",
    "MobileCLIP 2",
    "ConvNeXt",
)
"""Families of the catalogue, in its order."""

_EXTRAS = {
    "EVA-02": "openclip",
    "SigLIP": "siglip",
    "SigLIP 2": "siglip",
    "PE-Core": "openclip",
    "MobileCLIP 2": "openclip",
    "ConvNeXt": "openclip",
}
_ALL = "; `longclip models` lists what is known"
_MAX_NEAREST = 3
_LEAST_LIKENESS = 0.7
"""Of two names that one is taken for a misspelt other, as difflib measures it."""


@dataclass(frozen=True)
class CocoRecall:
    """R@1 on COCO, in percent.

    Attributes:
        text_to_image: share of texts whose image comes first.
        source: who measured it, on which pictures.
        image_to_text: share of images of which a text comes first; None where not published.
    """

    text_to_image: float
    source: str
    image_to_text: float | None = None


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A published model.

    Attributes:
        name: short name, by which it can be named wherever a model is.
        hub: name on the Hugging Face hub, owner/model.
        family: one of FAMILIES.
        context: tokens per text, begin and end included.
        image: side of the pictures it looks at, in pixels.
        embedding: numbers per embedding.
        good_for: what it is good for, in a few words.
        licence: of the weights, an SPDX identifier or the hub's; None where none is stated.
        open_clip: OpenCLIP's name of the architecture, where it has one.
        published: what `longclip.evaluation.benchmarks.PUBLISHED` calls the model.
        coco: recall on COCO, where `PUBLISHED` has none.
    """

    name: str
    hub: str
    family: str
    context: int
    image: int
    embedding: int
    good_for: str
    licence: str | None = None
    open_clip: str | None = None
    published: str | None = None
    coco: CocoRecall | None = None

    @property
    def extra(self) -> str | None:
        """Extra of this package that its images need, as in `longclip[openclip]`; None: a ViT."""
        return _EXTRAS.get(self.family)


@cache
def known_models() -> tuple[KnownModel, ...]:
    """Return the models that are known to load, family by family."""
    file = resources.files("longclip") / "checkpoints" / "known_models.toml"
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    sources = content["sources"]
    models = []
    for entry in content["model"]:
        coco = entry.pop("coco", None)
        if coco is not None:
            coco = CocoRecall(**coco | {"source": sources[coco["source"]]})
        models.append(KnownModel(**entry, coco=coco))
    return tuple(models)


def find_known_model(name: str) -> KnownModel | None:
    """Return the model of a short name or of a name on the hub, in capitals or not; None if none.

    A part of it may be named on the hub, too (owner/model/text_encoder).
    """
    wanted = name.lower()
    for model in known_models():
        hub = model.hub.lower()
        if wanted in (model.name.lower(), hub) or wanted.startswith(f"{hub}/"):
            return model
    return None


def known_model(name: str) -> KnownModel:
    """Return the model of a short name or of a name on the hub.

    Raises:
        CheckpointError: if none is known; names the nearest.
    """
    found = find_known_model(name)
    if found is None:
        raise CheckpointError(f"no model {name!r} is known{nearest_models(name) or _ALL}")
    return found


def nearest_models(name: str) -> str:
    """Return the end of a message on a model that is not there: which names are nearest to its.

    It is empty where the name is known, since then it is not the name that is wrong.
    """
    if find_known_model(name):
        return ""
    names = {known.lower(): known for model in known_models() for known in (model.name, model.hub)}
    wanted = name.lower()
    near = [known for known in names if known.startswith(wanted)][:_MAX_NEAREST]
    near = near or get_close_matches(wanted, names, n=_MAX_NEAREST, cutoff=_LEAST_LIKENESS)
    if not near and "/" not in name:
        # It may be a family's name.
        families = [family.lower() for family in FAMILIES]
        likely = get_close_matches(wanted, families, n=1, cutoff=_LEAST_LIKENESS)
        of_it = [model.name.lower() for model in known_models() if model.family.lower() in likely]
        near = of_it[:_MAX_NEAREST]
    if not near:
        return ""
    meant = " or ".join(names[lower] for lower in near)
    return f"; did you mean {meant}?{_ALL.removeprefix(';')}"
