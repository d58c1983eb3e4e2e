"""``robustness.json`` read back: of the right form, or one sentence that says where it is not.

Everything that reads a table of a run (gather, report, papers) reads it here, so that what follows may rely on the form and
on names without control characters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.core.escape import all_visible
from advvid.core.plain import read_json
from advvid.core.saved_config import checked
from advvid.evaluation.robustness import SCHEMA, RobustnessTable

# Columns have names, and names stand in headings.
LONGEST_NAME = 200


def read_table(path: Path) -> RobustnessTable:
    """Return the table of a ``robustness.json``.

    Every accuracy lies in [0, 1] beside its interval; its configuration has passed ``advvid.core.saved_config.checked``.

    Args:
        path: the file.

    Raises:
        AdvvidError: if it cannot be read, or something in it has another form; it names the file and the place.
    """
    return table_of(read_json(path, path.name), path.name)


def table_of(content: Any, what: str) -> RobustnessTable:
    """Return the table of plain values that somebody else may have written; see ``read_table``.

    Args:
        content: as ``robustness.json`` holds it.
        what: names it in messages.

    Raises:
        AdvvidError: if something in it has another form.
    """
    table = all_visible(content)
    if not isinstance(table, dict):
        raise AdvvidError(f"{what} holds no table: evaluate the run again with mode=eval")
    if table.get("schema") != SCHEMA:
        raise AdvvidError(f"{what} was not written by this version of advvid: evaluate the run again with mode=eval")
    form = _Form(what)
    form.whole(table, "n")
    form.mapping(table, "clean", needed=True)
    for name in RobustnessTable.SINGLE:
        if name in table:
            form.score(table[name], name)
    for section in RobustnessTable.SECTIONS:
        for name, entry in form.mapping(table, section).items():
            form.score(entry, f"{section}.{name}")
    form.strings(table, "missing")
    form.mapping(table, "read_by")
    for index, check in enumerate(form.list(table, "checks")):
        form.check(check, f"checks[{index}]")
    form.mapping(table, "versions")
    form.mapping(table, "identity")
    if table.get("commit") is not None:
        form.expect(isinstance(table["commit"], str), "commit", table["commit"], "text")
    form.expect(isinstance(table.get("seed", 0), int | str), "seed", table.get("seed"), "number")
    if "config" in table:
        table["config"] = checked(table["config"], what)
        for part in ("evaluation", "dataset"):
            form.mapping(table["config"], part)
    return RobustnessTable.of(table)


class _Form:
    """Holds parts of a table against what they must be; ``what`` names the file."""

    def __init__(self, what: str) -> None:
        self.what = what

    def expect(self, fits: bool, where: str, value: Any, wanted: str) -> None:
        if not fits:
            said = ascii(value)
            raise AdvvidError(
                f"{self.what} is malformed: {where[:100]} is {said if len(said) <= 60 else said[:57] + '...'} and no {wanted}"
            )

    def mapping(self, holder: Mapping[str, Any], name: str, needed: bool = False) -> Mapping[str, Any]:
        value = holder.get(name, None if needed else {})
        self.expect(isinstance(value, Mapping), name, value, "mapping")
        self.expect(
            all(len(str(key)) <= LONGEST_NAME for key in value), name, "a name of more than 200 signs", "mapping"
        )
        return value

    def list(self, holder: Mapping[str, Any], name: str) -> list[Any]:
        value = holder.get(name, [])
        self.expect(isinstance(value, list), name, value, "list")
        return value

    def strings(self, holder: Mapping[str, Any], name: str, where: str = "") -> None:
        for item in self.list(holder, name):
            self.expect(isinstance(item, str), f"{where}{name}", item, "text")

    def whole(self, holder: Mapping[str, Any], name: str) -> None:
        value = holder.get(name)
        self.expect(
            isinstance(value, int) and not isinstance(value, bool) and value >= 0, name, value, "number of clips"
        )

    def score(self, entry: Any, where: str) -> None:
        """An accuracy with its interval, or measures alone, beside what the attack was allowed."""
        self.expect(isinstance(entry, Mapping), where, entry, "mapping")
        if entry.get("acc") is not None:
            self.expect(_is_number(entry["acc"], 0, 1), f"{where}.acc", entry["acc"], "number from 0 to 1")
            ends = entry.get("ci95")
            paired = isinstance(ends, list) and len(ends) == 2 and all(_is_number(end, 0, 1) for end in ends)
            self.expect(paired, f"{where}.ci95", ends, "pair of numbers from 0 to 1")
        for name in ("metrics", "measures", "settings"):
            self.mapping(entry, name)
        for name, fits, wanted in ENTRY:
            if entry.get(name) is not None:
                self.expect(fits(entry[name]), f"{where}.{name}", entry[name], wanted)
        self.strings(entry, "notes", f"{where}.")
        rate = entry.get("measures", {}).get("fooling_rate")
        self.expect(rate is None or _is_number(rate), f"{where}.measures.fooling_rate", rate, "number")

    def check(self, check: Any, where: str) -> None:
        """A sentence, or a check with its name and whether it is raised."""
        if isinstance(check, str):
            return
        self.expect(isinstance(check, Mapping), where, check, "check")
        self.expect(
            isinstance(check.get("raised", True), bool), f"{where}.raised", check.get("raised"), "true or false"
        )
        for name in ("name", "message", "condition", "means", "remedy"):
            if check.get(name) is not None or name == "message":
                self.expect(isinstance(check.get(name), str), f"{where}.{name}", check.get(name), "text")


def _is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


ENTRY: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("budget", _is_text, "text"),
    ("access", _is_text, "text"),
    ("threat", _is_text, "text"),
    ("max_distance", _is_number, "number"),
    ("seconds", _is_number, "number"),
    ("gradient_calls", _is_number, "number"),
    ("near_ties", _is_number, "number"),
)
