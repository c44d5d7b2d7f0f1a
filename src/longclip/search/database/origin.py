"""Origin: what a database was made from, in a file beside its tables.

The tables know it, too. But one that is damaged is made anew from its sources, with its model, and
both have to be known for that.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from longclip.data.storage import is_url
from longclip.util.files import write_text
from longclip.util.regular_files import read_regular

ORIGIN_NAME = "longclip.json"


@dataclass(frozen=True)
class Origin:
    """What a database was made from.

    Attributes:
        model: as it was called, see `About.model`.
        sources: what has been indexed, as `open_image_source` takes it.
    """

    model: str
    sources: tuple[str, ...]

    def keep(self, place: str) -> None:
        """Write it into the directory of a database; object storage keeps none."""
        if not is_url(place) and self != read_origin(place):
            write_text(Path(place, ORIGIN_NAME), json.dumps(asdict(self), indent=2) + "\n")


def read_origin(place: str) -> Origin | None:
    """Return what a database was made from; None where that is not noted."""
    if is_url(place):
        return None
    try:
        kept = json.loads(read_regular(Path(place, ORIGIN_NAME)))
        origin = Origin(kept["model"], tuple(kept["sources"]))
    # Whatever has become of that file, it is as if it were not there.
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (
        origin if all(isinstance(each, str) for each in (origin.model, *origin.sources)) else None
    )
