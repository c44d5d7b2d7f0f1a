"""The search page: one HTML response, joined of the three files in `page/`."""

from functools import cache
from importlib import resources

_STYLE = '<link rel="stylesheet" href="page.css">'
_SCRIPT = '<script src="page.js"></script>'
_NONCE = "{{nonce}}"


def render_page(nonce: str) -> str:
    """Return the page with its style and script inline, both marked with `nonce`."""
    return _joined().replace(_NONCE, nonce)


@cache
def _joined() -> str:
    """Return index.html with page.css and page.js in the places that refer to them."""
    folder = resources.files(__package__) / "page"
    html, style, script = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("index.html", "page.css", "page.js")
    )
    assert html.count(_STYLE) == html.count(_SCRIPT) == 1, "index.html refers once to each part"
    html = html.replace(_STYLE, f'<style nonce="{_NONCE}">\n{style}</style>')
    return html.replace(_SCRIPT, f'<script nonce="{_NONCE}">\n{script}</script>')
