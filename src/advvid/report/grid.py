"""A table before it is HTML or Markdown: rows with headings, and numbers that know their run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from advvid.core.escape import cell as _escaped
from advvid.evaluation.scores import Score

NOTHING = "–"
ANCHOR_SAFE = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Mark:
    """A small drawing beside a percentage: its interval on a scale from 0 to 100, and the published number."""

    value: float | None
    low: float
    high: float
    published: float | None = None


@dataclass(frozen=True)
class Value:
    """A cell.

    Args:
        text: what stands in it.
        interval: its 95% interval, in words; stands below it, or in brackets.
        href: ``#anchor`` of what explains it.
        notes: numbers of the footnotes that bear on it.
        mark: the number as a drawing.
        words: whether it is text and not a number.
        tone: ``good``, ``bad`` or "" for a verdict.
        strong: whether it stands out.
    """

    text: str
    interval: str = ""
    href: str = ""
    notes: tuple[int, ...] = ()
    mark: Mark | None = None
    words: bool = False
    tone: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """A row: its heading with what stands small below it, its cells, and an anchor by which it can be found."""

    head: str
    cells: tuple[Value, ...]
    anchor: str = ""
    href: str = ""
    notes: tuple[int, ...] = ()
    strong: bool = False
    small: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under one heading ("" for none)."""

    rows: tuple[Row, ...]
    head: str = ""


@dataclass(frozen=True)
class Header:
    """The heading of a column with what stands small below it; ``words`` columns are aligned left."""

    text: str
    words: bool = False
    href: str = ""
    notes: tuple[int, ...] = ()
    small: str = ""


@dataclass(frozen=True)
class Grid:
    """A table with a caption; ``corner`` is the heading above the rows' headings."""

    caption: str
    corner: str
    header: tuple[Header, ...]
    groups: tuple[Group, ...]

    def markdown(self) -> str:
        """Return the grid as a Markdown table under its caption; drawings are left out."""
        lines = [
            [
                _escaped(self.corner),
                *(_linked(_escaped(h.text), h.href) + _small(h.small) + _refs(h.notes) for h in self.header),
            ],
            ["---", *("---" if column.words else "---:" for column in self.header)],
        ]
        for group in self.groups:
            if group.head:
                lines.append([f"**{_escaped(group.head)}**", *("" for _ in self.header)])
            for row in group.rows:
                head = _linked(_escaped(row.head), row.href) + _small(row.small) + _refs(row.notes)
                anchor = f'<a id="{row.anchor}"></a>' if row.anchor else ""
                lines.append([anchor + head, *map(_cell, row.cells)])
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{_escaped(self.caption)}\n\n{body}" if self.caption else body

    def turned(self) -> Grid:
        """Return the grid with rows and columns exchanged; anchors and groups do not survive."""
        rows = [row for group in self.groups for row in group.rows]
        header = tuple(
            Header(row.head, all(v.words for v in row.cells), row.href, row.notes, row.small) for row in rows
        )
        turned = tuple(
            Row(
                column.text,
                tuple(row.cells[i] for row in rows),
                href=column.href,
                notes=column.notes,
                small=column.small,
            )
            for i, column in enumerate(self.header)
        )
        return replace(self, header=header, groups=(Group(turned),))


def anchor(*parts: str) -> str:
    """Return an anchor made of words: small letters, digits and hyphens.

    Example:
        >>> anchor("run", "a/CAT 0..12")
        'run-a-cat-0-12'
    """
    text = "".join(c if c in ANCHOR_SAFE else " " for c in " ".join(parts).lower())
    return "-".join(text.split())


def unique_anchors(names: Sequence[str], prefix: str) -> list[str]:
    """Return an anchor per name, numbered where two would be the same."""
    found: list[str] = []
    for name in names:
        base = wanted = anchor(prefix, name)
        number = 2
        while wanted in found:
            wanted, number = f"{base}-{number}", number + 1
        found.append(wanted)
    return found


def percentage(score: Score | None, href: str = "", notes: tuple[int, ...] = ()) -> Value:
    """Return the cell of an accuracy.

    Example:
        >>> percentage(Score(0.513, (0.444, 0.581))).interval
        '44.4 to 58.1'
    """
    if score is None or score.acc is None or score.ci95 is None:
        return Value(NOTHING)
    low, high = (100 * end for end in score.ci95)
    return Value(f"{100 * score.acc:.1f}", f"{low:.1f} to {high:.1f}", href, notes)


def signed(text: str) -> str:
    """Write a number with a true minus sign, and a plus sign where it has none.

    Example:
        >>> signed("-4.8"), signed("0.3")
        ('−4.8', '+0.3')
    """
    return text.replace("-", "−") if text.startswith("-") else "+" + text


def number(value: float, digits: int = 4) -> str:
    """Write a number short but in full: no powers of ten below a million.

    Example:
        >>> number(5293), number(0.24870168), number(61.1)
        ('5293', '0.2487', '61.1')
    """
    if float(value).is_integer() and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def _cell(value: Value) -> str:
    text = _linked(_escaped(value.text), value.href)
    text = f"**{text}**" if value.strong else text
    return text + (f" [{_escaped(value.interval)}]" if value.interval else "") + _refs(value.notes)


def _linked(text: str, href: str) -> str:
    return f"[{text}]({href})" if href and text else text


def _small(text: str) -> str:
    return f" ({_escaped(text)})" if text else ""


def _refs(notes: Sequence[int]) -> str:
    return "".join(f"[^{note}]" for note in notes)
