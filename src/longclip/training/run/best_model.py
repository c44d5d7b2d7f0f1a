"""The best model of a run so far, by one of its measurements."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from longclip.errors import UsageError
from longclip.runs.run_files import MODEL
from longclip.util.files import write_text

BEST = "best"
"""Folder of a run that holds its best model so far."""

_STATE = "best.json"


@dataclass(frozen=True)
class Best:
    """A step and what was measured after it."""

    step: int
    values: dict[str, float]


class BestModel:
    """Directory of the best model: a folder named by its step, and a file that names it.

    Args:
        run: the run's directory.
        metric: a name of a measurement, or a part that only one has; empty to keep none.
    """

    def __init__(self, run: Path, metric: str) -> None:
        self._folder = run / BEST
        self.metric = metric

    def place(self, step: int) -> Path:
        """Return where the model of a step is written."""
        return self._folder / f"step-{step:08d}" / MODEL

    def load(self) -> Best | None:
        """Return the best step; None where there is none, or its model is not there."""
        try:
            found = json.loads((self._folder / _STATE).read_text(encoding="utf-8"))
            best = Best(int(found["step"]), dict(found["values"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return best if self.place(best.step).is_dir() else None

    def value(self, values: Mapping[str, float]) -> float:
        """Return the value of the metric.

        Raises:
            UsageError: if none of the measurements is meant, or several are.
        """
        if self.metric in values:
            return values[self.metric]
        meant = [name for name in values if self.metric in name]
        if len(meant) != 1:
            raise UsageError(
                f"--keep-best {self.metric} is {'none' if not meant else 'several'} of what is "
                f"measured: {', '.join(meant or values)}"
            )
        return values[meant[0]]

    def beaten_by(self, values: Mapping[str, float]) -> bool:
        """Return whether the best so far is lower; of equals the first stays."""
        best = self.load()
        return best is None or self.value(values) > self.value(best.values)

    def note(self, best: Best) -> None:
        """Note that the model of this step, which is written, is the best, and delete others."""
        text = json.dumps({"step": best.step, "values": best.values})
        write_text(self._folder / _STATE, text + "\n")
        for other in self._folder.glob("step-*"):
            if other != self.place(best.step).parent:
                shutil.rmtree(other, ignore_errors=True)

    def forget_after(self, step: int) -> None:
        """Forget a best of later steps, which a resumed run makes again; of all for step 0."""
        best = self.load()
        if best is None or best.step > step:
            shutil.rmtree(self._folder, ignore_errors=True)
