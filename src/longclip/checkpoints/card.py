"""Model cards: the README.md of a model directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

README = "README.md"
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Card:
    """What a model's page says.

    Attributes:
        title: its heading.
        facts: rows of its table.
        library: what loads the model: transformers or open_clip.
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
        """Markdown with the front matter that the hub reads."""
        from huggingface_hub import ModelCardData

        data = ModelCardData(
            license=self.licence, library_name=self.library, tags=["clip", "long-clip"]
        )
        parts = [
            f"---\n{data.to_yaml()}\n---\n# {self.title}",
            self.introduction,
            "\n".join(["| | |", "|---|---|", *map(_row, self.facts.items())]),
            "\n".join(f"- {note}" for note in self.notes),
            *(f"## {name}\n\n{body.strip()}" for name, body in (self.sections or {}).items()),
        ]
        return "\n\n".join(filter(None, parts)) + "\n"


def _row(fact: tuple[str, str]) -> str:
    return "| {} | {} |".format(*(cell.replace("|", "\\|") for cell in fact))


def source_name(source: str | Path) -> str:
    """A hub name or a bundled one as it is; of a path the last part, which is nobody's secret."""
    return Path(source).name if Path(source).exists() else str(source)


def read_card(directory: Path) -> tuple[str | None, str]:
    """Licence and text of the card in a model directory; nothing where there is no readable one."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError  # what the hub's library parses front matter with

    path = directory / README
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
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
