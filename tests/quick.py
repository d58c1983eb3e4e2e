"""``pytest --quick``: as many test files as take 60 seconds in all, the quickest first, by ``tests/seconds.json``.

``pytest --record`` writes that file anew after a whole run, so that the choice keeps up with the tests. A file of tests that it
does not know yet is quick: it is what one is working on. A file that is named on the command line runs in any case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).with_name("seconds.json")
# All processes together; beside it each of them imports PyTorch and the chosen files.
BUDGET = 60.0


def recorded() -> dict[str, float]:
    """Return the seconds of each file of tests, by its path from the top of the repository."""
    return json.loads(FILE.read_text())


def left_out(seconds: Mapping[str, float], budget: float = BUDGET) -> set[str]:
    """Return the files that do not fit into the budget.

    Example:
        >>> sorted(left_out({"a": 3.0, "b": 1.0, "c": 2.0}, budget=4.0))
        ['a']
    """
    total, found = 0.0, set()
    for name in sorted(seconds, key=lambda name: (seconds[name], name)):
        total += seconds[name]
        if total > budget:
            found.add(name)
    return found


def record(seconds: Mapping[str, float]) -> None:
    """Write what each file took."""
    rounded = {name: round(taken, 1) for name, taken in sorted(seconds.items()) if name}
    FILE.write_text(json.dumps(rounded, indent=0) + "\n")
