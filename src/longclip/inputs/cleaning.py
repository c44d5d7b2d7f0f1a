"""The text cleaning that CLIP was trained with."""

import html

import ftfy


def clean_text(text: str) -> str:
    """OpenAI's cleaning, step by step in OpenAI's order: the ids depend on it.

    Mojibake is repaired (ftfy), HTML entities are resolved twice (web captions are often escaped
    twice: `&amp;amp;`), runs of whitespace become one space, and everything is lower-cased.
    """
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
