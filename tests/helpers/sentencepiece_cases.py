"""Models that SentencePiece's own library trained, and the ids that it gave to odd texts.

`python -m tests.helpers.sentencepiece_cases` makes the file anew, and needs `sentencepiece`, which
no test does.
"""

import base64
import io
import json
import random
import tempfile
import unicodedata
import zlib
from pathlib import Path
from typing import Any

CASES = Path(__file__).with_name("sentencepiece_cases.json")

_WORDS = (
    "a red dog runs over the green grass while two small cats sleep in an old house zwei Katzen "
    "schlafen über dem Fluß naïve café 日本語 のテキスト 東京 мир кот عربى नमस्ते don't 12.50 $"
)
_ODD = (
    "abcdeéÅ①½ﬁｆｕ\u3000\u00a0\t\n\u200b\u200d\u0301\u0302\u0323\u0308oA😀👩\u200d👧🇩🇪שלוםمرحبا日本語が"
    "\u3099か한국각ไำ\x00\x01\x7f\u0085\ufeff\u2028▁_<>/s0x41ªⅣ㍿𝕏 .,!?'\""
)
_FIXED = [
    *("", " ", " \t\n", "a", "a  b", "  lead", "trail  ", "▁", "▁a▁", "</s>", "<unk> x", "<0x41>"),
    *(
        "a</s>b<s>",
        "\x00",
        "e\u0301",
        "A\u030a",
        "①\u0301",
        "か\u3099",
        "dog" * 40,
        " " * 300 + "a",
    ),
    *(
        "two small cats",
        "A RED dog, runs!",
        "日本語のテキスト",
        "a <sep>b",
        "<sep><sep>",
        "x\u200dy",
    ),
    *(
        "\u0300\u0301\u0302",
        "a\u0323\u0301",
        "नमस्ते",
        "مرحبا",
        "שלום",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "ﬁne",
    ),
]
_OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "bytes": {"byte_fallback": True, "vocab_size": 480},
    "as they are": {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    "symbols of a user": {"user_defined_symbols": ["<sep>", "Ⅳ", "▁<extra_id_0>"]},
    "words in a row": {"split_by_whitespace": False, "normalization_rule_name": "identity"},
    "T5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
}


def _rules() -> str:
    """Return NFKC for the characters of the texts, and what else makes a space or nothing."""
    characters = sorted(set(_ODD + _WORDS + "".join(_FIXED)))
    marks = [c for c in characters if unicodedata.combining(c)]
    rules = {c: unicodedata.normalize("NFKC", c) for c in characters}
    for base in [c for c in characters if c.isalpha()]:
        for mark in marks:
            rules[base + mark] = unicodedata.normalize("NFKC", base + mark)
            for other in marks:
                both = base + mark + other
                rules[both] = unicodedata.normalize("NFKC", both)
    # The library knows no rule for the character with number 0.
    del rules["\x00"]
    rules |= dict.fromkeys("\t\n\u0085\u2028\u200b", " ") | dict.fromkeys("\x01\x7f\ufeff", "")
    return "".join(
        " ".join(f"{ord(c):X}" for c in old) + "\t" + " ".join(f"{ord(c):X}" for c in new) + "\n"
        for old, new in rules.items()
        if old != new
    )


def odd_texts() -> list[str]:
    """Return texts of which most are no sentences: 240, always the same."""
    dice = random.Random(0)
    drawn = ["".join(dice.choices(_ODD, k=dice.randint(1, 30))) for _ in range(150)]
    words = _WORDS.split()
    drawn += [" ".join(dice.choices(words, k=dice.randint(1, 9))) for _ in range(56)]
    return [*_FIXED, *drawn]


def recorded_model(name: str) -> bytes:
    """Return the model file of one of the cases."""
    model: str = json.loads(CASES.read_text())["models"][name]["model"]
    return zlib.decompress(base64.b64decode(model))


def main() -> None:
    """Train the models and write the file."""
    import sentencepiece  # type: ignore[import-not-found]

    dice = random.Random(1)
    lines = [" ".join(dice.choices(_WORDS.split(), k=12)) for _ in range(1000)]
    texts, found = odd_texts(), {}
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as rules:
        rules.write(_rules())
        rules.flush()
        for name, options in _OPTIONS.items():
            made = io.BytesIO()
            usual = {"vocab_size": 180, "character_coverage": 0.98, "minloglevel": 2}
            if "normalization_rule_name" not in options:
                usual["normalization_rule_tsv"] = rules.name
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=made,
                hard_vocab_limit=False,
                **{**usual, **options},
            )
            library = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
            model = base64.b64encode(zlib.compress(made.getvalue(), 9)).decode()
            found[name] = {"model": model, "ids": [library.encode(text) for text in texts]}
    CASES.write_text(json.dumps({"texts": texts, "models": found}) + "\n")


if __name__ == "__main__":
    main()
