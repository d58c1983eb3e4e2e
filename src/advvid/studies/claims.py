"""What the papers say, judged from the tables that were made: holds, does not hold, or undecided.

A statement is a list of comparisons in ``claimed/<paper>.yaml``. Clips are compared in pairs, counts of them by Bonett and
Price's interval, means by a bootstrap over clips; where only two proportions are known, by the normal interval of their
difference. A statement holds where every interval lies above its margin, it does not hold where one lies below, and is
undecided otherwise, as it is where a model in it has less than half of the clean accuracy that the paper prints.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from advvid.core.files import write_text
from advvid.evaluation.table import Block
from advvid.studies.compared import Tables, compare
from advvid.studies.plan import FULL
from advvid.studies.published import read_yaml
from advvid.studies.table import StudyTable
from advvid.studies.work import TROUBLE

log = logging.getLogger(__name__)
FOLDER = Path(__file__).resolve().parent / "claimed"
HOLDS, FAILS, OPEN = "holds", "does_not_hold", "undecided"


@dataclass(frozen=True)
class Claim:
    """A statement of a paper.

    Args:
        id: its name, such as ``kinfu_c16``.
        says: the statement.
        conditions: what must be so; see ``advvid.studies.compared``.
    """

    id: str
    says: str
    conditions: tuple[Mapping[str, Any], ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it needs."""
        named = [
            condition[key] for condition in self.conditions for key in ("table", "lower_table") if key in condition
        ]
        return tuple(dict.fromkeys(named))


@cache
def claims() -> Mapping[str, Claim]:
    """Return every statement by its name."""
    content = {name: node for path in sorted(FOLDER.glob("*.yaml")) for name, node in read_yaml(path).items()}
    return {name: Claim(name, node["says"], tuple(node["if"])) for name, node in content.items()}


def judge(claim: Claim, tables: Tables) -> dict[str, Any] | None:
    """Return a statement's verdict with the least favourable comparison; None where a number for it is missing.

    Args:
        claim: the statement.
        tables: of one scale, by id, as ``make_table`` returns them.
    """
    if any(name not in tables for name in claim.tables):
        return None
    compared: list[dict[str, Any]] = []
    for condition in claim.conditions:
        try:
            found = compare(condition, tables)
        except (*TROUBLE, TypeError) as error:  # a number that an analysis could not give is None
            log.info("%s cannot be judged: %s", claim.id, error)
            return None
        if found is None:
            return None
        compared += found
    fails = any(found["ci95"][1] < 0 for found in compared)
    holds = all(found["ci95"][0] > 0 for found in compared)
    weak = [name for condition in claim.conditions for name in _unlearnt(condition, tables[condition["table"]])]
    worst = min(compared, key=lambda found: found["ci95"][1] if fails else found["ci95"][0])
    return {
        "verdict": OPEN if weak else FAILS if fails else HOLDS if holds else OPEN,
        "says": claim.says,
        "because": f"{', '.join(dict.fromkeys(weak))} hardly learned at this scale" if weak else "",
        "scale": tables[claim.tables[0]].scale,
        "tables": list(claim.tables),
        "runs": sorted({run for found in compared for run in found.pop("runs")}),
        "statistic": worst["points"],
        "ci95": worst["ci95"],
        "of": worst["of"],
        "unit": "points above what the statement needs",
        "comparisons": compared,
    }


def _unlearnt(condition: Mapping[str, Any], table: StudyTable) -> list[str]:
    """Return the rows with less than half of the clean accuracy that the paper prints: they say nothing about methods."""
    names = [*condition.get("higher", []), *condition.get("lower", []), *condition.get("rows", [])]
    found = []
    for row in dict.fromkeys(name.partition(":")[0] for name in names):
        clean = table.rows.get(row, {}).get("clean")
        if clean and clean.published and clean.measured and clean.measured.value < clean.published / 2:
            found.append(row)
    return found


def verdicts(tables: Tables) -> dict[str, dict[str, Any]]:
    """Return the verdict on every statement that the tables of a scale can judge."""
    found = {claim.id: judge(claim, tables) for claim in claims().values()}
    return {name: verdict for name, verdict in found.items() if verdict is not None}


def record(judged: Mapping[str, Any], target: Path) -> dict[str, Any]:
    """Put verdicts into ``claims.json`` and ``claims.md`` of a folder; return all of the file.

    What was judged at the paper's scale is not replaced by what a demo says.
    """
    path = target / "claims.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for name, verdict in judged.items():
        if verdict["scale"] == FULL or known.get(name, {}).get("scale") != FULL:
            known[name] = verdict
    write_text(path, json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    write_text(target / "claims.md", page(known))
    return known


def page(judged: Mapping[str, Any]) -> str:
    """Return the verdicts as Markdown."""
    count = {name: sum(found["verdict"] == name for found in judged.values()) for name in (HOLDS, FAILS, OPEN)}
    rows = []
    for name, found in sorted(judged.items()):
        low, high = found["ci95"]
        verdict = str(found["verdict"]).replace("_", " ") + (f" ({found['because']})" if found.get("because") else "")
        points = f"{found['statistic']:.1f} [{low:.1f}, {high:.1f}]"
        rows.append((name, found["says"], found["scale"], verdict, found["of"], points))
    table = Block("", ("statement", "", "scale", "verdict", "decided by", "points"), tuple(rows), fixed=5)
    head = f"""What the papers say, and what was measured here.

{count[HOLDS]} hold, {count[FAILS]} do not hold, {count[OPEN]} are undecided. The figure is the comparison that decides
least in a statement's favour: points above what it needs, with the 95% interval over clips; nothing is corrected for
the number of comparisons. A verdict at demo scale is about the embedded data and small networks."""
    return f"{head}\n\n{table.markdown()}\n"
