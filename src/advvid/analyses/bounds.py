"""What is proved beside what an attack leaves: a table, a figure, and the check that no attack goes below a proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from advvid.analyses.figures import curves
from advvid.evaluation.check_rules import Check
from advvid.evaluation.table import percent
from advvid.evaluation.tally import proportion

# What a bound may be over, by its name in the result.
HEADINGS = {"radius": "l2 radius", "frames": "changed frames", "side": "side of the patch, pixels"}
# Clips with ``id``, ``label``, ``answer`` (None: none given), the answer after an attack of each size as ``attacked``, those
# after tries inside of what is proved as ``tried``, and how far the answer is proved.
Clips = Sequence[Mapping[str, Any]]


def bounds(clips: Clips, proof: str, needs: Sequence[float]) -> list[dict[str, Any]]:
    """Return, for each size of change, the accuracy that is ``certified`` and that which is left when ``attacked``.

    Args:
        clips: what was found.
        proof: their key of how far an answer is proved, such as ``radius``.
        needs: how far it has to be for each size.
    """
    return [
        {
            "certified": proportion([c["answer"] == c["label"] and c[proof] >= need for c in clips]),
            # An upper bound: where there is no answer, the attack is not sure to have succeeded.
            "attacked": proportion([{c["answer"], c["attacked"][i]} <= {c["label"], None} for c in clips]),
        }
        for i, need in enumerate(needs)
    ]


def held(clips: Clips, proof: str, needs: Sequence[float]) -> Iterator[tuple[str, bool]]:
    """Yield, for every attack and try inside of what is proved, the clip's name and whether its answer is another for sure.

    Arguments are those of ``bounds``.
    """
    for clip in clips:
        for need, after in zip(needs, clip["attacked"], strict=True):
            if clip["answer"] is not None and clip[proof] >= need:
                yield clip["id"], after not in (None, clip["answer"])
        for after in clip.get("tried", ()):
            yield clip["id"], after not in (None, clip["answer"])


def summary(tried: Sequence[tuple[str, bool]]) -> dict[str, int]:
    """Return how many attacks and tries there were inside of what is proved, and on how many clips one succeeded."""
    return {"tries": len(tried), "broken": len({name for name, changed in tried if changed})}


def bound_table(title: str, over: str, part: Mapping[str, Any]) -> Table:
    """Return a row per size of change: the proved lower bound beside the attack's upper bound.

    Args:
        title: of the table.
        over: a key of ``HEADINGS``.
        part: a result with ``right`` and ``bounds``, each with ``over``, ``certified`` and ``attacked``.
    """
    layout = Table(title=f"{title}: percent right, [95% interval]", title_justify="left", header_style="bold")
    for heading in (HEADINGS[over], "proved, at least", "left by the attack, at most"):
        layout.add_column(heading, justify="right")
    layout.add_row("0", percent(part["right"]), "", end_section=True)
    for bound in part["bounds"]:
        layout.add_row(f"{bound[over]:g}", percent(bound["certified"]), percent(bound["attacked"]))
    return layout


def bound_curves(title: str, over: str, n: int, parts: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """Draw both bounds over the size of change.

    Args:
        title: of the figure.
        over: a key of ``HEADINGS``.
        n: number of clips.
        parts: results as ``bound_table`` takes them, by the words that their lines bear besides; over the same sizes.
        path: the PNG file.
    """
    lines = [
        {
            "label": f"{kind}{label}",
            "clean": part["right"],
            "points": [part["right"], *(b[kind] for b in part["bounds"])],
        }
        for label, part in parts.items()
        for kind in ("certified", "attacked")
    ]
    values = [0.0, *(float(bound[over]) for bound in next(iter(parts.values()))["bounds"])]
    content = {
        "values": values,
        "written": [f"{value:g}" for value in values],
        "field": HEADINGS[over],
        "n": n,
        "attack": title,
        "chance": 0.0,
        "models": lines,
    }
    return curves(content, path)


def below_certificate(tried: Iterable[tuple[str, bool]], means: str, remedy: str) -> Check:
    """Return the check that attacks inside of what is proved change no answer.

    Args:
        tried: for each attack of that kind, the clip's name and whether its answer changed.
        means: what a raised check means.
        remedy: what to do then.
    """
    tries: Sequence[tuple[str, bool]] = list(tried)
    broken = sorted({name for name, changed in tries if changed})
    named = f": {', '.join(broken[:5])}" if broken else ""
    return Check(
        "below_certificate",
        bool(broken),
        f"{len(broken)} clips have an answer that an attack changed although it is proved ({len(tries)} tries){named}",
        "an attack inside of what is proved changes the answer",
        means,
        remedy,
    )
