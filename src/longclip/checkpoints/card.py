"""Model cards: the README.md of a model directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

README = "README.md"
_MAX_CARD_BYTES = 1_000_000


@dataclass(frozen=True)
class Card:
    """Content of a model's page on the hub.

    Attributes:
        title: its heading.
        facts: rows of its table.
        library: that loads the model: transformers or open_clip.
        introduction: a paragraph under the heading.
        notes: a list under the table.
        sections: further Markdown, by heading.
        licence: of the weights, where it is known.
    """

    title: str
    facts: Mapping[str, str]
    library: str = "transformers"
    introduction: str = ""
    notes: Sequence[str] = ()
    sections: Mapping[str, str] | None = None
    licence: str | None = None

    def text(self) -> str:
        """Return Markdown with the front matter that the hub reads."""
        from huggingface_hub import ModelCardData

        data = ModelCardData(
            license=self.licence, library_name=self.library, tags=["clip", "long-clip"]
        )
        cells = ([cell.replace("|", "\\|") for cell in fact] for fact in self.facts.items())
        rows = (f"| {name} | {value} |" for name, value in cells)
        parts = [
            f"---\n{data.to_yaml()}\n---\n# {self.title}",
            self.introduction,
            "\n".join(["| | |", "|---|---|", *rows]),
            "\n".join(f"- {note}" for note in self.notes),
            *(f"## {name}\n\n{body.strip()}" for name, body in (self.sections or {}).items()),
        ]
        return "\n\n".join(filter(None, parts)) + "\n"


def source_name(source: str | Path) -> str:
    """Return a name as it is, and of a path its last part, since cards are public."""
    return Path(source).name if Path(source).exists() else str(source)


def read_card(directory: Path) -> tuple[str | None, str]:
    """Return licence and text of the card in a model directory; none where it is not readable."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError  # what the hub's library parses front matter with

    path = directory / README
    if not path.is_file() or path.stat().st_size > _MAX_CARD_BYTES:
        return None, ""
    try:
        content = path.read_text(encoding="utf-8")
        if not content.startswith("---"):
            return None, content.strip()
        card = ModelCard(content)
    except (UnicodeDecodeError, YAMLError, ValueError, TypeError):
        return None, ""
    licence = card.data.get("license")
    return licence if isinstance(licence, str) else None, card.text.strip()
