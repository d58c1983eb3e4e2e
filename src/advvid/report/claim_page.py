"""One page about one claim (``advvid.sharing``): what was attacked, what is left, what speaks against it, who attacked it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.core.progress import spoken
from advvid.evaluation.scores import Score
from advvid.report.grid import Grid, Group, Header, Row, Value
from advvid.report.leaderboard import Entry, boards
from advvid.report.rendering import rendered
from advvid.report.runs import columns_grid, marked
from advvid.report.summary import strongest

NO_VERIFICATION = "No result of advvid verify names this claim: its numbers are its owner's alone."


def claim_page(folders: Sequence[Path], title: str | None = None) -> str:
    """Return the page of the one claim below folders as HTML that loads nothing.

    Args:
        folders: with a ``claim.json``, and what ``advvid verify`` wrote about it.
        title: heading; by default the claim's name.

    Raises:
        AdvvidError: if there is no claim, one that cannot be read, or several.

    Example:
        >>> html = claim_page([Path("shared/mine")])                                       # doctest: +SKIP
    """
    found, problems = boards(folders)
    if problems:
        raise AdvvidError(next(iter(problems.values())))
    entries = {
        entry.digest: entry for board in found for several in board.threats.values() for entry in several
    }.values()
    if len(entries) != 1:
        names = ", ".join(sorted(entry.claim.name for entry in entries))
        raise AdvvidError(f"--claim shows one claim, but there are {len(entries)} ({names}): give the folder of one")
    (entry,) = entries
    return rendered(
        "claim.html",
        title or entry.claim.name,
        entry=entry,
        facts=_facts(entry),
        unions=_unions(entry),
        columns=columns_grid(entry.claim.table, "column"),
    )


def _facts(entry: Entry) -> dict[str, str]:
    """Return the summary: a few words by name."""
    claim, table = entry.claim, entry.claim.table
    worst = strongest(table)
    count, raised = len(table.attacks), len(table.raised)
    seconds = sum(score.seconds or 0.0 for score in table.columns.values())
    facts = {
        "attacked": ", ".join(f"{group} {choice}" for group, choice in claim.parts.items() if group != "suite"),
        "on": f"{table.n} clips",
        "by": f"{count} attack{'' if count == 1 else 's'}: {', '.join(table.attacks)}",
        "right without an attack": table.clean.said,
        "right under the strongest attack": f"{table.attacks[worst].said}, {worst}" if worst else "",
        "right under every attack": table.union.said if table.union else "",
        "proved": "nothing: a claim rests on attacks alone",
        "checks": f"{len(table.checks)} made, {raised or 'none'} raised",
        "attacked again": {True: entry.verdict, False: "yes, and it differs"}.get(bool(entry.same), ""),
        "cost of the attacks": spoken(seconds) if seconds else "",
    }
    if entry.same is None:
        facts["attacked again"] = NO_VERIFICATION
    return {name: text for name, text in facts.items() if text}


def _unions(entry: Entry) -> Grid:
    rows = tuple(
        Row(threat, (marked(Score(score["acc"], tuple(score["ci95"]))), Value(_members(entry, threat), words=True)))
        for threat, score in entry.claim.unions.items()
    )
    return Grid("", "threat and budget", (Header("right"), Header("attacks", words=True)), (Group(rows),))


def _members(entry: Entry, threat: str) -> str:
    """Return the attacks of one threat and budget; all of them where it is none of an attack's own."""
    attacks = entry.claim.table.attacks
    own = [name for name, score in attacks.items() if threat in (score.budget, score.threat, name)]
    return ", ".join(own or attacks)
