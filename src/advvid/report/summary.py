"""What a reviewer wants to know of each run in one row: what attacked it, what was left, what speaks against it, and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advvid.analyses.bounds import HEADINGS
from advvid.core.errors import AdvvidError
from advvid.core.plain import read_json
from advvid.core.progress import spoken
from advvid.evaluation.scores import Score, Scores
from advvid.report.grid import NOTHING, Grid, Group, Header, Row, Value, number
from advvid.report.runs import RunSection, marked

HEADER = (
    Header("attacked by", words=True),
    Header("clean"),
    Header("strongest attack", words=True),
    Header("union"),
    Header("checks raised"),
    Header("proved", words=True),
    Header("cost of the attacks", words=True),
)
PROVED = [head.text for head in HEADER].index("proved")
MOST_BYTES = 10_000_000
NO_ATTACK = "no attack"


@dataclass(frozen=True)
class Summary:
    """The top of a report: a sentence per data set, and a row per run."""

    said: tuple[str, ...]
    grid: Grid


def summary(sections: Sequence[RunSection]) -> Summary | None:
    """Return what is known of the runs that have a table; None where no run has one."""
    rows = tuple(row for section in sections if (row := _row(section)) is not None)
    return Summary(tuple(_said(sections)), Grid("", "run", HEADER, (Group(rows),))) if rows else None


def _said(sections: Sequence[RunSection]) -> Iterator[str]:
    """Say of each data set which run keeps most clips right under every attack, and which least."""
    sets: dict[tuple[str, str], list[tuple[RunSection, Scores, Score]]] = {}
    for section in sections:
        table = section.found.result
        if table is not None and table.union is not None and table.union.acc is not None and table.attacks:
            key = section.found.choices.get("dataset", "unknown data"), str(table.n)
            sets.setdefault(key, []).append((section, table, table.union))
    for (data, n), runs in sets.items():
        order = sorted(runs, key=lambda run: -(run[2].acc or 0.0))
        section, best, union = order[0]
        if len(runs) == 1:
            worst = best.attacks[strongest(best)]
            yield (
                f"{section.name}: of {n} clips, {_percent(best.clean)} are right without an attack, {_percent(worst)} under the "
                f"strongest, {strongest(best)}, and {_percent(union)} under every one."
            )
        elif union.acc == order[-1][2].acc:
            yield f"{data}, {n} clips: all {len(runs)} runs keep {_percent(union)} right under every attack of their suites."
        else:
            yield (
                f"{data}, {n} clips, {len(runs)} runs: most are right under every attack with {section.name} "
                f"({_percent(union)}), fewest with {order[-1][0].name} ({_percent(order[-1][2])})."
            )
    scored = [section for section in sections if section.found.result is not None]
    raised = sum(bool(section.checks) for section in scored)
    if raised:
        which = f"{raised} of {len(scored)} runs" if len(scored) > 1 else "The run"
        yield f"{which} raised a check: read it before you believe the numbers."


def strongest(table: Scores) -> str:
    """Return the attack that leaves least, "" where none was tried or the task has no right answers."""
    judged = {name: score.acc for name, score in table.attacks.items() if score.acc is not None}
    return min(judged, key=lambda name: judged[name] or 0.0, default="")


def certificates(folder: Path) -> Iterator[str]:
    """Yield what the analyses of a run folder prove, a sentence for each: the least change, and the accuracy proved for it.

    Example:
        >>> list(certificates(Path("nowhere")))
        []
    """
    for source in sorted((folder / "analysis").glob("*.json")):
        try:
            result = read_json(source) if source.stat().st_size <= MOST_BYTES else {}
        except (AdvvidError, OSError):  # its own section of the report says so
            continue
        for part in _parts(result):
            bounds = part.get("bounds")
            first = bounds[0] if isinstance(bounds, list) and bounds and isinstance(bounds[0], dict) else {}
            over = next((key for key in HEADINGS if isinstance(first.get(key), int | float)), None)
            proved = first.get("certified")
            if over is None or not isinstance(proved, dict) or not isinstance(proved.get("acc"), int | float):
                continue
            noise = f", sigma {number(part['sigma'])}" if isinstance(part.get("sigma"), int | float) else ""
            yield f"{100 * proved['acc']:.1f}% at {HEADINGS[over]} {number(first[over])}{noise}"


def _parts(result: Any) -> list[Any]:
    """Return what may hold bounds: the result itself, and each of its levels of noise."""
    levels = result.get("levels") if isinstance(result, dict) else None
    found = [result, *levels] if isinstance(levels, list) else [result]
    return [part for part in found if isinstance(part, dict)]


def _row(section: RunSection) -> Row | None:
    table = section.found.result
    proved = Value("; ".join(certificates(section.found.path)) or NOTHING, words=True)
    if table is None:
        empty = tuple(Value(NOTHING, words=head.words) for head in HEADER)
        cells = (*empty[:PROVED], proved, *empty[PROVED + 1 :])
        told = Row(section.name, cells, href=f"#{section.anchor}", small=section.found.label)
        return told if proved.text != NOTHING else None
    count, worst = len(table.attacks), strongest(table)
    tried = f"{count} attack{'' if count == 1 else 's'}" if count else NO_ATTACK
    raised = len(section.checks)
    seconds = sum(score.seconds or 0.0 for score in table.columns.values())
    cells = (
        Value(f"{tried}, {table.n} clips", words=True),
        _linked(section, "clean", table.clean),
        _worst(section, worst, table),
        _linked(section, "union", table.union),
        Value(str(raised), href=f"#{section.anchor}" if raised else "", tone="bad" if raised else "good"),
        proved,
        Value(spoken(seconds) if seconds else NOTHING, words=True),
    )
    return Row(section.name, cells, href=f"#{section.anchor}", small=section.found.label)


def _percent(score: Score) -> str:
    return score.said.replace(" [", "% [")


def _linked(section: RunSection, name: str, score: Score | None) -> Value:
    return marked(score, section.column(name))


def _worst(section: RunSection, name: str, table: Scores) -> Value:
    if not name:
        return Value(NOTHING, words=True)
    score = table.attacks[name]
    value = marked(score, section.column(name))
    budget = (score.budget or "").partition(" (")[0]  # without its size in pixels
    return Value(f"{value.text} {name}", "; ".join(filter(None, (value.interval, budget))), value.href, words=True)
