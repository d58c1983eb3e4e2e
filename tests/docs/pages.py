"""What stands in the documents: fences by language, and commands as words."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
PAGES = [TOP / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str = "") -> list[str]:
    """Return what stands in fences of a language; "" for those that name none."""
    return [content for found, content in FENCE.findall(text) if found == language]


def commands(text: str) -> list[list[str]]:
    """Return the commands of a page as words, lines that go on joined, comments left out."""
    lines = "".join(blocks(text)).replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]
