"""What the papers say, judged from the tables that were made: holds, does not hold, undecided, or not testable here.

A statement is a list of comparisons in ``claimed/<paper>.yaml`` (``if``), or the reason why nothing here tests it
(``not_testable``). Clips are compared in pairs, counts of them by Bonett and Price's interval, means by a bootstrap over clips,
several seeds with what seeds differ by; where only two proportions are known, by the normal interval of their difference. A
statement holds where every interval lies above its margin, it does not hold where one lies below. Two rows that an attack
leaves below 5% both, or above 95%, cannot be told apart: where only such comparisons stand between a statement and a verdict, or
a model in it has less than half of the clean accuracy that the paper prints, it is not testable here. Else it is undecided.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scipy.stats import false_discovery_control

from advvid.core.errors import AdvvidError
from advvid.core.files import write_text
from advvid.evaluation.table import Block
from advvid.studies.compared import Tables, compare
from advvid.studies.plan import FULL
from advvid.studies.published import read_yaml
from advvid.studies.table import StudyTable
from advvid.studies.work import TROUBLE

log = logging.getLogger(__name__)
FOLDER = Path(__file__).resolve().parent / "claimed"
HOLDS, FAILS, OPEN, NOT = "holds", "does_not_hold", "undecided", "not_testable"
BOTH = "both"  # the scale of what no table tests
FALSE = 0.05  # share of false ones among the decided that is allowed for


@dataclass(frozen=True)
class Claim:
    """A statement of a paper.

    Args:
        id: its name, such as ``kinfu_c16``.
        says: the statement.
        conditions: what must be so; see ``advvid.studies.compared``.
        reason: why nothing here tests it; "" where there are conditions.
    """

    id: str
    says: str
    conditions: tuple[Mapping[str, Any], ...]
    reason: str = ""

    def __post_init__(self) -> None:
        if bool(self.conditions) == bool(self.reason):
            raise AdvvidError(f"the statement {self.id} needs either if: or not_testable:, and has both or neither")

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
    return {
        name: Claim(name, node["says"], tuple(node.get("if", ())), node.get("not_testable", ""))
        for name, node in content.items()
    }


def judge(claim: Claim, tables: Tables) -> dict[str, Any] | None:
    """Return a statement's verdict with the least favourable comparison; None where a number for it is missing.

    Args:
        claim: the statement.
        tables: of one scale, by id, as ``make_table`` returns them.
    """
    if claim.reason:
        return {
            "verdict": NOT,
            "says": claim.says,
            "because": claim.reason,
            "scale": BOTH,
            "data": [],
            "tables": [],
            "runs": [],
            **decided([]),
            "comparisons": [],
        }
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
    weak = [name for condition in claim.conditions for name in _unlearnt(condition, tables[condition["table"]])]
    because = f"{', '.join(dict.fromkeys(weak))} hardly learned at this scale"
    return {
        "says": claim.says,
        "scale": tables[claim.tables[0]].scale,
        "data": sorted({tables[name].dataset for name in claim.tables}),
        "tables": list(claim.tables),
        "runs": sorted({run for found in compared for run in found.pop("runs")}),
        "unit": "points above what the statement needs",
        **decided(compared),
        **({"verdict": NOT, "because": because, "p": None} if weak else {}),
        "comparisons": compared,
    }


def decided(compared: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the verdict on a statement's comparisons with the least favourable of them, and its p value.

    That all comparisons hold has the largest of their p values; that one of them fails, the smallest times their number.
    The verdict's is the smaller of both.
    """
    if not compared:
        return {"statistic": None, "ci95": None, "of": "", "p": None}
    told = [found for found in compared if not found["cannot_tell"]]
    fails = any(found["ci95"][1] < 0 for found in told)
    holds = all(found["ci95"][0] > 0 for found in compared)
    between = [found for found in compared if found["ci95"][0] <= 0]
    blind = bool(between) and all(found["cannot_tell"] for found in between)
    verdict = FAILS if fails else HOLDS if holds else NOT if blind else OPEN
    pool = told if fails else between if blind else compared
    worst = min(pool, key=lambda found: found["ci95"][1] if fails else found["ci95"][0])
    one_fails = min([1.0, *(len(told) * found["p"] for found in told if found["points"] < 0)])
    all_hold = max(found["p"] if found["points"] > 0 else 1.0 for found in compared)
    ends = {found["of"]: found["cannot_tell"] for found in between}
    return {
        "verdict": verdict,
        "because": "; ".join(f"both of {of} are {where}" for of, where in ends.items()) if verdict == NOT else "",
        "statistic": worst["points"],
        "ci95": list(worst["ci95"]),
        "of": worst["of"],
        "p": None if verdict == NOT else min(one_fails, all_hold),
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


def kept_after_correction(judged: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return the decided statements that are left where a share of 5% of them may be false, and among how many they were tested.

    By Benjamini and Hochberg's procedure over the p values of all statements that have one, decided or not.
    """
    tested = {name: found["p"] for name, found in judged.items() if found.get("p") is not None}
    if not tested:
        return [], 0
    adjusted = dict(zip(tested, false_discovery_control(list(tested.values())), strict=True))
    return [n for n, p in adjusted.items() if p <= FALSE and judged[n]["verdict"] in (HOLDS, FAILS)], len(tested)


def page(judged: Mapping[str, Any]) -> str:
    """Return the verdicts as Markdown."""
    count = {name: sum(found["verdict"] == name for found in judged.values()) for name in (HOLDS, FAILS, OPEN, NOT)}
    left, tested = kept_after_correction(judged)
    rows = []
    for name, found in sorted(judged.items()):
        verdict = str(found["verdict"]).replace("_", " ") + (f" ({found['because']})" if found.get("because") else "")
        points = "–"
        if found["ci95"]:
            low, high = found["ci95"]
            points = f"{found['statistic']:.1f} [{low:.1f}, {high:.1f}]"
        p = "–" if found.get("p") is None else f"{found['p']:.3f}" if found["p"] >= 0.001 else "<0.001"
        shown = (found["scale"], "; ".join(found.get("data", [])), verdict, found["of"] or "–", points, p)
        rows.append((name, found["says"], *shown))
    heads = ("statement", "", "scale", "data", "verdict", "decided by", "points", "p")
    table = Block("", heads, tuple(rows), fixed=6)
    head = f"""What the papers say, and what was measured here.

{count[HOLDS]} hold, {count[FAILS]} do not hold, {count[OPEN]} are undecided. {count[NOT]} are not testable here: nothing here
tests them, a model in them hardly learned, or their rows are all below 5% or all above 95%. The figure is the comparison that
decides least in a statement's favour: points above what it needs, with the 95% interval over clips, and over seeds where there are
several. Single verdicts are not corrected for their number:
of the {count[HOLDS] + count[FAILS]} decided, {len(left)} are left where 5% of them may be
false (Benjamini and Hochberg, over the p values of {tested} statements). A verdict at demo scale is about the embedded
data and small networks."""
    return f"{head}\n\n{table.markdown()}\n"
