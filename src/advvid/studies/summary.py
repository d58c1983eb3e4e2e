"""What was made of each paper in a few lines: tables, cells, verdicts, and what all of it cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from advvid.core.files import write_text
from advvid.evaluation.table import Block
from advvid.studies.catalogue import papers
from advvid.studies.claims import BOTH, FAILS, HOLDS, NOT, OPEN
from advvid.studies.plan import DEMO, SCALES
from advvid.studies.publish import FILES, read_list
from advvid.studies.published import authors_of
from advvid.studies.table import StudyTable
from advvid.studies.work import DONE

FILE = "papers.md"
HEADER = (
    "paper",
    "tables and figures",
    "cells with a number",
    "pictures",
    "hold",
    "do not hold",
    "undecided",
    "not testable",
)
SAID = {"full": "at the papers' scale", "demo": "at demo scale (embedded data, narrow networks)"}


def publish_summary(target: Path, root: Path) -> Path:
    """Write ``papers.md`` of a folder from its ``papers.json`` and ``claims.json``.

    Args:
        target: that folder.
        root: where runs are kept, for what they cost.
    """
    tables = read_list(target / FILES[False])
    claims = target / "claims.json"
    judged = json.loads(claims.read_text()) if claims.is_file() else {}
    costs = {scale: spent(root / scale) for scale in SCALES}
    path = target / FILE
    write_text(path, "\n\n".join(summary(tables, judged, costs)) + "\n")
    return path


def summary(
    tables: Sequence[StudyTable], judged: Mapping[str, Any], costs: Mapping[str, tuple[int, float]]
) -> Iterator[str]:
    """Yield the paragraphs for each scale at which anything was made.

    Args:
        tables: as ``papers.json`` holds them.
        judged: verdicts by statement, as ``claims.json`` holds them.
        costs: by scale, how many trainings and evaluations were carried out, and their seconds.
    """
    for scale in SCALES:
        made = {table.id: table for table in tables if table.scale == scale}
        if not made:
            continue
        rows = []
        for paper, study in papers().items():
            own = [made[name] for name in study.targets if name in made]
            if not own:
                continue
            done, cells = (sum(numbers) for numbers in zip(*(table.counted for table in own), strict=True))
            found = [
                v["verdict"]
                for name, v in judged.items()
                if name.startswith(f"{paper}_") and v["scale"] in (scale, BOTH)
            ]
            counts = (
                sum(len(table.figures) for table in own),
                *(found.count(word) for word in (HOLDS, FAILS, OPEN, NOT)),
            )
            tables_made = f"{len(own)} of {len(study.targets)}"
            rows.append((authors_of(paper), tables_made, f"{done} of {cells}", *map(str, counts)))
        yield f"Made {SAID[scale]}:"
        yield Block("", HEADER, tuple(rows)).markdown()
        works, seconds = costs[scale]
        if works:
            unit = "hours of processor time" if scale == DEMO else "hours"
            half = f" ({seconds / 120:.0f} minutes where two cores share them evenly)" if scale == DEMO else ""
            yield f"{works} trainings and evaluations took {seconds / 3600:.1f} {unit}{half}. Cells without a number say why."


def spent(folder: Path) -> tuple[int, float]:
    """Return how many trainings and evaluations of a scale are finished, and for how many seconds they computed."""
    found = [json.loads(path.read_text()).get("seconds") or 0.0 for path in folder.glob(f"**/{DONE}")]
    return len(found), sum(found)
