"""The best model of a run so far, by one of its measurements."""

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from longclip.errors import CheckpointError, UsageError
from longclip.model.identity import files_sha256
from longclip.runs.run_files import BEST, MODEL
from longclip.util.sealed_json import read_sealed, write_sealed

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
        """Return the best step, whose model is as it was written; None where there is none.

        Damage is told in a warning. All files of the model are read.
        """
        try:
            found = read_sealed(self._folder / _STATE)
            best = Best(found["step"], found["values"])
            damage = self._damage(best, found["files"])
        except FileNotFoundError:
            return None
        except (OSError, CheckpointError) as error:
            damage = str(error)
        if not damage:
            return best
        warnings.warn(f"{damage}; it was the best step so far, and counts no longer", stacklevel=2)
        return None

    def _damage(self, best: Best, files: Mapping[str, str]) -> str:
        """Return what is wrong with the files of a model; empty where nothing is."""
        for name, sha256 in files.items():
            file = self.place(best.step) / name
            try:
                if files_sha256([file]) != sha256:
                    return f"{file} is damaged: its checksum is another"
            except OSError as error:
                return f"{file} cannot be read ({error.strerror})"
        return ""

    def name(self, values: Mapping[str, float]) -> str:
        """Return the name of the measurement that is meant.

        Raises:
            UsageError: if none is meant, or several are.
        """
        if self.metric in values:
            return self.metric
        meant = [name for name in values if self.metric in name]
        if len(meant) != 1:
            raise UsageError(
                f"--keep-best {self.metric} is {'none' if not meant else 'several'} of what is "
                f"measured: {', '.join(meant or values)}"
            )
        return meant[0]

    def beaten_by(self, values: Mapping[str, float], best: Best | None) -> bool:
        """Return whether the best so far is lower, or was measured on something else.

        Of equals the first stays.

        Raises:
            UsageError: as `name`.
        """
        name = self.name(values)
        if best is None:
            return True
        if name not in best.values:  # a run may be resumed with another --evaluate
            warnings.warn(
                f"step {best.step}, the best so far, was not measured by {name}, and counts no "
                "longer",
                stacklevel=2,
            )
            return True
        return values[name] > best.values[name]

    def note(self, best: Best) -> None:
        """Note that the model of this step, which is written, is the best, and delete others."""
        place = self.place(best.step)
        files = {file.name: files_sha256([file]) for file in sorted(place.iterdir())}
        state = {"step": best.step, "values": best.values, "files": files}
        write_sealed(self._folder / _STATE, state)
        for other in self._folder.glob("step-*"):
            if other != place.parent:
                shutil.rmtree(other, ignore_errors=True)

    def load_until(self, step: int) -> Best | None:
        """Return the best of the steps up to this one.

        One of later steps, which a resumed run makes again, is deleted.
        """
        best = self.load()
        if best is None or best.step > step:
            shutil.rmtree(self._folder, ignore_errors=True)
            return None
        return best
