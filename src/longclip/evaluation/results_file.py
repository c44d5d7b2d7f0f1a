"""Results on disk: JSON that `longclip compare` reads again."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from longclip import __version__
from longclip._files import write_text
from longclip.errors import UsageError
from longclip.evaluation.results import EvaluationResult


def as_json(results: Sequence[EvaluationResult]) -> str:
    """Everything about the results that is not an embedding; a line for each."""
    lines = ",\n".join(json.dumps(result.to_json(), ensure_ascii=False) for result in results)
    return f'{{"longclip": "{__version__}", "results": [\n{lines}\n]}}\n'


def write_results(path: Path, results: Sequence[EvaluationResult]) -> None:
    """Write them whole or not at all."""
    write_text(path, as_json(results))


def read_all_results(paths: Sequence[Path]) -> list[EvaluationResult]:
    """The results of several files; where a model comes twice on one collection, both are told
    apart by the names of their files.

    Raises:
        ValueError: as `read_results`.
    """
    found = [(path, result) for path in paths for result in read_results(path)]
    counts = Counter((result.name, result.collection) for _, result in found)
    return [
        replace(result, name=f"{result.name} ({path.stem})")
        if counts[result.name, result.collection] > 1
        else result
        for path, result in found
    ]


def read_results(path: Path) -> list[EvaluationResult]:
    """The results in a file of `longclip eval --json`, without embeddings.

    Raises:
        ValueError: if there is no such file or it holds something else; it is named.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return [EvaluationResult.from_json(values) for values in content["results"]]
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}; make one with longclip eval --json") from None
    except KeyError as error:
        raise UsageError(f"{path} holds no results of longclip eval --json: no {error}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, ValueError) as error:
        raise UsageError(f"{path} holds no results of longclip eval --json: {error}") from None
