"""Model cards: written, read again, and carried along."""

from pathlib import Path

import pytest
import yaml

import longclip
from longclip.checkpoints.hub import Card, read_card
from longclip.model.convert import convert
from tests.helpers.models import small_clip


def test_a_card_is_markdown_with_front_matter(tmp_path: Path) -> None:
    card = Card(
        title="harbour",
        introduction="Reads 248 tokens.",
        facts={"source": "a|b"},
        notes=["rows folded"],
        sections={"Results": "| R@1 |\n|---|\n"},
        licence="mit",
    )
    text = card.text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "mit"
    assert front["library_name"] == "transformers"
    assert "| source | a\\|b |" in text
    assert "- rows folded\n\n## Results\n\n| R@1 |" in text
    (tmp_path / "README.md").write_text(text)
    licence, body = read_card(tmp_path)
    assert licence == "mit"
    assert body.startswith("# harbour\n\nReads 248 tokens.")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"# plain", (None, "# plain")),
        (b"---\nlicense: [\n---\n# x", (None, "")),
        (b"---\nlicense:\n- mit\n---\n# x", (None, "# x")),
        (b"\xff\xfe", (None, "")),
        (b"x" * 1_000_001, (None, "")),
    ],
)
def test_other_peoples_cards(
    content: bytes, expected: tuple[str | None, str], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_bytes(content)
    assert read_card(tmp_path) == expected


def test_a_conversion_keeps_what_its_source_says(tmp_path: Path) -> None:
    source = tmp_path / "harbour"
    card = Card(title="harbour", facts={"recipe": "paper"}, licence="cc-by-4.0")
    longclip.save(longclip.stretch(small_clip()), source, card=card.text())
    convert(source, tmp_path / "there", "openclip")
    convert(tmp_path / "there", tmp_path / "back")
    text = (tmp_path / "back" / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["license"] == "cc-by-4.0"
    assert "| recipe | paper |" in text
    assert "| positions | stretched from 77 rows, the first 20 rows kept, ratio 4" in text
    assert "(OpenCLIP) |" in text
