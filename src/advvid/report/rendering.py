"""A page as one HTML file that loads nothing, from the templates of this package."""

from __future__ import annotations

import re
from typing import Any

import jinja2
from markupsafe import Markup, escape

import advvid


def rendered(template: str, title: str, **content: Any) -> str:
    """Return a page as HTML; whatever it is given stands there as text.

    Args:
        template: name of the file in ``templates``.
        title: of the page.
        content: by the names that the template has for it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("advvid.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["breakable"] = _breakable
    style = Markup(environment.get_template("report.css").render())
    told = {"title": title, "version": advvid.__version__, "style": style, **content}
    return environment.get_template(template).render(told) + "\n"


def _breakable(text: str) -> Markup:
    """Let a long name break after the signs that join its words, and nowhere else."""
    parts = re.split(r"(?<=[/_.,])(?=[^\s\d])", text)
    return Markup("<wbr>").join(map(escape, parts))
