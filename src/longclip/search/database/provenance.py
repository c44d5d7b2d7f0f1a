"""Provenance of embeddings: the model that made them, kept in the table itself."""

import json
from dataclasses import asdict, dataclass

from longclip.errors import SearchError
from longclip.model import CLIP
from longclip.model.identity import model_digest

FORMAT = 2
KEY = b"longclip.search"


@dataclass(frozen=True)
class About:
    """The model that a database was made with.

    Attributes:
        model: what the model was called when it was opened: a directory, a hub name.
        digest: of its weights and settings, see `longclip.model.identity.model_digest`.
        width: numbers in an embedding.
        context_length: tokens of a text.
        format: of the table.
    """

    model: str
    digest: str
    width: int
    context_length: int
    format: int = FORMAT

    @staticmethod
    def of(model: CLIP, name: str) -> "About":
        """Describe a model that was opened under this name."""
        return About(name, model_digest(model), model.embedding_dim, model.context_length)

    def metadata(self) -> dict[bytes, bytes]:
        """Return it as metadata of the table's schema."""
        return {KEY: json.dumps(asdict(self)).encode()}

    @staticmethod
    def read(metadata: dict[bytes, bytes] | None, place: str) -> "About":
        """Read it from the table's schema; raises SearchError where it is not one of ours."""
        found = (metadata or {}).get(KEY)
        if found is None:
            raise SearchError(
                f"{place} holds a table `images` that longclip has not made; name another --db"
            )
        values = json.loads(found)
        if values.get("format") != FORMAT:
            raise SearchError(
                f"{place} was made by another version of longclip (format {values.get('format')}, "
                f"this one reads {FORMAT}); index into a new directory"
            )
        return About(**values)


def check_same_model(stored: About, given: About, place: str) -> None:
    """Refuse a model whose embeddings cannot be compared with those that are there."""
    if given.digest != stored.digest:
        raise SearchError(
            f"{place} was indexed with {stored.model}, and {given.model} is another model: their "
            "embeddings cannot be compared. Use that one, or index everything again with this "
            f"one: longclip index … --db {place} --model {given.model} --rebuild"
        )
