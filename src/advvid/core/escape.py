r"""What runs say, as it may stand in Markdown, in a CSV file and on a terminal: text, and never anything that acts.

Example:
    >>> print(cell("a|b <script> ![x](http://y)"), csv_cell("=cmd()"), visible("\x1b[2J"))
    a\|b \<script> ![x\](http://y) '=cmd() \x1b[2J
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

# What begins code, emphasis or HTML.
ACTING = re.compile(r"([\\`*<])")
# What makes a link, a picture or a definition of brackets; others, as of an interval, may stay.
LINKING = re.compile(r"\](?=\s*[(\[:])")
# What begins a heading, a quotation, a list or a line at the beginning of a block.
LEADING = re.compile(r"^(?=[#>=~+-](?![\d.]))")


def clipped(text: str, most: int = 80) -> str:
    """Return text of at most so many characters, the end left out where it has more.

    Example:
        >>> clipped("a long text", 8)
        'a lon...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def visible(text: str) -> str:
    r"""Return text whose control characters, which move a terminal's cursor or turn text around, are written out.

    Example:
        >>> print(visible("one\ntwo"))
        one\ntwo
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if unicodedata.category(c)[0] != "C" else ascii(c)[1:-1] for c in text)


def all_visible(value: Any) -> Any:
    """Return plain values with ``visible`` text, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {all_visible(key): all_visible(inner) for key, inner in value.items()}
    return [all_visible(inner) for inner in value] if isinstance(value, list) else value


def markdown(text: str) -> str:
    """Return text as it stands in a paragraph, a heading or a list of Markdown, on one line."""
    text = visible(text)
    return LEADING.sub(r"\\", LINKING.sub(r"\\]", ACTING.sub(r"\\\1", text)))


def cell(text: str) -> str:
    """Return text as it stands in a table of Markdown."""
    return markdown(text).replace("|", "\\|")


def fenced(text: str, language: str = "") -> str:
    """Return text as a block of code, between fences longer than any that it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    lines = "\n".join(visible(line) for line in text.rstrip().split("\n"))
    return f"{fence}{language}\n{lines}\n{fence}"


def picture(alt: str, path: Path) -> str:
    """Return a picture of Markdown; a path may hold any character."""
    return f"![{markdown(alt).replace(']', chr(92) + ']')}](<{quote(path.as_posix(), safe='/ .,_-()+=@')}>)"


def csv_cell(value: Any) -> Any:
    """Return a value that a spreadsheet takes for text or a number, and not for a formula."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text[:1] in ("=", "+", "-", "@", "|", "%") else text
    return text
