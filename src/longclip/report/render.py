"""Pages from the templates beside this file: no script, no outside resource, one file to send."""

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from longclip.report.chart import colour, marker, swatch


def render(template: str, **values: Any) -> str:
    """Return a template of this package filled with `values`; text in them is escaped."""
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("longclip.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"colour": colour, "marker": marker, "swatch": swatch, "zip": zip}
    return environment
