"""Footnotes of a report, each numbered once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A footnote; ``href`` leads to the run that it is about ("" for none)."""

    number: int
    text: str
    href: str = ""


class Notes:
    """Collects footnotes in the order of their first use.

    Example:
        >>> notes = Notes()
        >>> notes.add("first"), notes.add("second"), notes.add("first")
        (1, 2, 1)
    """

    def __init__(self) -> None:
        self._found: dict[str, Note] = {}

    def add(self, text: str, anchor: str = "") -> int:
        """Return the number of a footnote, which is new unless the same text was added before."""
        note = Note(len(self._found) + 1, text, f"#{anchor}" if anchor else "")
        return self._found.setdefault(text, note).number

    @property
    def all(self) -> tuple[Note, ...]:
        """Every footnote, in order."""
        return tuple(self._found.values())
