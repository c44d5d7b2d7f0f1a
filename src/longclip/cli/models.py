"""`longclip models`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from longclip.cli.options import MAX_COLUMNS, AsJson, paragraph
from longclip.errors import UsageError
from longclip.spec import LONG_CONTEXT

if TYPE_CHECKING:
    from longclip.checkpoints.catalogue import KnownModel

_BENCHMARKS = {"urban1k": "Urban-1k", "docci": "DOCCI", "coco": "COCO"}
"""What the list shows recall on, and what heads it.

COCO is 5,000 pictures, of 2017 or of Karpathy's split of 2014; the source says which, if known.
"""

_TO_TEXT, _TO_IMAGE = "image_to_text R@1", "text_to_image R@1"
_RECALLS = (_TO_TEXT, _TO_IMAGE)
_NUMBERS = 3 + len(_BENCHMARKS)
"""Columns of the list that hold numbers."""

_NO_LICENCE = "not stated"
_FILE_WIDTH = 1_000
"""Width of the list where it is not shown on a terminal: all columns."""


def models_command(
    name: str | None = None,
    /,
    *,
    family: str | None = None,
    as_json: AsJson = False,
) -> None:
    """List models that are known to load, with their short names; or show one in full.

    A short name stands for the model wherever one is named. The numbers are published R@1 in
    percent, images to texts / texts to images. A wide terminal shows names on the hub, too.

    Example: `longclip models`

    Example: `longclip models LongCLIP-L`

    Example: `longclip models 384 --family "SigLIP 2"`

    Parameters
    ----------
    name:
        A short name or a name on the hub: all that is known of this model. Any other word lists
        the models in whose names, family or description it stands.
    family:
        List this family alone.
    """
    import json
    from shutil import get_terminal_size

    from longclip.checkpoints.catalogue import find_known_model, known_models

    found = find_known_model(name) if name is not None and family is None else None
    if found is not None:
        print(json.dumps(_facts(found), ensure_ascii=False)) if as_json else _print_one(found)
        return
    models = [model for model in known_models() if family is None or _is_of(model, family)]
    models = [model for model in models if name is None or _mentions(model, name)]
    if not models:
        _refuse(name, family)
    if as_json:
        print(json.dumps([_facts(model) for model in models], ensure_ascii=False))
        return
    _print_list(models, get_terminal_size((_FILE_WIDTH, 0)).columns)


def _is_of(model: "KnownModel", family: str) -> bool:
    return _plain(model.family) == _plain(family)


def _plain(text: str) -> str:
    """Return a family's name without what people leave out of it: SigLIP 2, siglip2."""
    return text.lower().replace(" ", "").replace("-", "")


def _mentions(model: "KnownModel", word: str) -> bool:
    texts = (model.name, model.hub, model.family, model.good_for, model.licence or "")
    return any(word.lower() in text.lower() for text in texts)


def _refuse(name: str | None, family: str | None) -> None:
    """Raise UsageError about a family or a word that nothing is known of."""
    from longclip.checkpoints.catalogue import FAMILIES, nearest_models

    if family is not None and _plain(family) not in map(_plain, FAMILIES):
        raise UsageError(f"--family {family} is none of {', '.join(FAMILIES)}")
    assert name is not None
    among = f" in the family {family}" if family else ""
    raise UsageError(
        f"no model{among} is called {name!r}, nor has it in its description"
        + (nearest_models(name) or "; `longclip models` lists all")
    )


def _recalls(model: "KnownModel") -> dict[str, dict[str, Any]]:
    """Return published R@1 of a model, with its source, by benchmark; only what is known."""
    from longclip.evaluation.benchmarks import PUBLISHED

    found: dict[str, dict[str, Any]] = {}
    for name in _BENCHMARKS:
        numbers = PUBLISHED["coco-5k" if name == "coco" else name].get(model.published or "")
        values = {key: numbers.metrics.get(key) for key in _RECALLS} if numbers else {}
        source = "; ".join((numbers.source, *numbers.reservations)) if numbers else ""
        if name == "coco":
            source += " (5,000 pictures of COCO 2017)"
            if model.coco is not None:
                values = {_TO_TEXT: model.coco.image_to_text, _TO_IMAGE: model.coco.text_to_image}
                source = model.coco.source
        known = {key: value for key, value in values.items() if value is not None}
        if known:
            found[name] = {**known, "source": source}
    return found


def _facts(model: "KnownModel") -> dict[str, Any]:
    """Return what is known of a model, as JSON has it."""
    from dataclasses import asdict

    facts = {key: value for key, value in asdict(model).items() if key not in ("published", "coco")}
    return facts | {"extra": model.extra, "published": _recalls(model)}


def _shown(recall: dict[str, Any] | None) -> str:
    if recall is None:
        return ""
    values = (recall.get(_TO_TEXT), recall.get(_TO_IMAGE))
    return "/".join("–" if value is None else f"{value:.1f}" for value in values)


def _print_list(models: list["KnownModel"], width: int) -> None:
    """Print a line for each model, with as many columns as there is room for, and the sources."""
    headings = (
        "tokens",
        "image",
        "embed",
        *_BENCHMARKS.values(),
        "name on the hub",
        "licence",
        "good for",
    )
    rows = []
    sources: dict[str, dict[str, None]] = {}
    for model in models:
        recalls = _recalls(model)
        for benchmark, recall in recalls.items():
            sources.setdefault(recall["source"], {})[_BENCHMARKS[benchmark]] = None
        sizes = map(str, (model.context, model.image, model.embedding))
        shown = (_shown(recalls.get(benchmark)) for benchmark in _BENCHMARKS)
        rows.append((*sizes, *shown, model.hub, model.licence or _NO_LICENCE, model.good_for))
    columns = zip(headings, *rows, strict=True)
    widths = [max(len(cell) for cell in column) for column in columns]
    name_width = max(len(text) for model in models for text in (model.name, model.family))
    family = None
    for model, row in zip(models, rows, strict=True):
        if model.family != family:
            if family is not None:
                print()
            family = model.family
            print(_line(family, name_width, headings, widths, width))
        print(_line(model.name, name_width, row, widths, width))
    print()
    for source, names in sources.items():
        print(paragraph(f"{', '.join(names)}: {source}", min(width, MAX_COLUMNS), hanging=2))
    print("`longclip models NAME` shows one in full.")


def _line(
    name: str, name_width: int, cells: Sequence[str], widths: Sequence[int], width: int
) -> str:
    """Return a row: its first columns, which fit."""
    line = f"{name:<{name_width}}"
    for number, (cell, column) in enumerate(zip(cells, widths, strict=True)):
        if len(line) + 2 + column > width:
            break
        line += "  " + (f"{cell:>{column}}" if number < _NUMBERS else f"{cell:<{column}}")
    return line.rstrip()


def _print_one(model: "KnownModel") -> None:
    from shutil import get_terminal_size

    width = min(get_terminal_size().columns, MAX_COLUMNS)
    print(f"{model.name}: {model.family}, {model.good_for}")
    for label, text in (
        ("hub", f"huggingface.co/{model.hub}"),
        ("licence", model.licence or _NO_LICENCE),
        ("texts", f"{model.context} tokens, begin and end included"),
        ("images", f"{model.image} × {model.image} pixels"),
        ("embedding", f"{model.embedding} numbers"),
        ("needs", model.extra and f'for images: pip install "longclip[{model.extra}]"'),
        ("OpenCLIP", model.open_clip),
    ):
        if text:
            print(paragraph(f"{label:<11}{text}", width, hanging=11))
    for benchmark, recall in _recalls(model).items():
        values = ", ".join(f"{key} {recall[key]:.1f}" for key in _RECALLS if key in recall)
        text = f"{_BENCHMARKS[benchmark]}: {values} ({recall['source']})"
        print(paragraph(f"{'published':<11}{text}", width, hanging=11))
    print(f"{'load':<11}longclip.load({model.name!r})")
    if model.context < LONG_CONTEXT:
        print(f"{'lengthen':<11}longclip stretch {model.name} runs/long")
