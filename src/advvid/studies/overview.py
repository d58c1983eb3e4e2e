"""A line for each table and figure: its data, what it costs, and how much of it is there."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from advvid.studies.catalogue import all_targets, studies
from advvid.studies.estimate import known as known_hours
from advvid.studies.minutes import known as known_minutes
from advvid.studies.plan import DEMO, FULL, SCALES
from advvid.studies.publish import FILES, kept, read_list
from advvid.studies.published import published_tables
from advvid.studies.table import StudyTable

PUBLISHED = Path("outputs/published")


def listing(root: Path, published: Path = PUBLISHED) -> Table:
    """Return the targets as a table.

    Args:
        root: where runs and tables are kept.
        published: the folder of ``papers.json``. GPU hours are not measured: they are counted from the settings. So are
            the demo's minutes of computing until it was run, which the sign ~ says.
    """
    guess = known_minutes()
    layout = Table(
        title="make TARGET, or make TARGET SCALE=demo; our own on embedded data: make study-TARGET",
        title_justify="left",
        header_style="bold",
        box=None,
    )
    layout.caption = (
        f"make papers SCALE=demo: about {guess['all']:.0f} minutes on 2 cores, counted from single timings as if no attack "
        "stopped early (~: so are the minutes of a target, on one core; what tables share counts in each)"
    )
    layout.caption_justify = "left"
    for heading in ("target", "data", "cells", "full: GPU h", "demo: minutes", "full", "demo", "what"):
        layout.add_column(heading, overflow="fold", no_wrap=heading == "target")
    hours = known_hours()
    known = [table for file in FILES.values() for table in read_list(published / file)]
    made = {scale: kept(root / scale / "tables") for scale in SCALES}
    costs = {table.id: table.seconds / 60 for table in known if table.scale == DEMO and table.seconds}
    for name, target in all_targets().items():
        cells = sum(len(row) for row in target.cells.values())
        states = []
        for scale in SCALES:
            published_one = next((t for t in known if (t.id, t.scale) == (name, scale)), None)
            table = made[scale].get(name, published_one)
            if table is not None and scale == DEMO and table.seconds:
                costs[name] = table.seconds / 60
            states.append(_state(table))
        printed, study = published_tables().get(name), studies()[target.study]
        needed = {data: None for run, _ in target.wanted(FULL) for data in study.runs[run].data}
        data = printed.data if printed else ", ".join(needed) or "embedded"
        guessed = f"~{guess['minutes'][name]:.0f}" if name in guess["minutes"] else "not counted"
        layout.add_row(
            name,
            data,
            str(cells or "figure"),
            f"{hours[name]:.1f}" if name in hours else "–" if study.own else "not counted",
            f"{costs[name]:.0f}" if name in costs else guessed,
            *states,
            target.title,
        )
    return layout


def _state(table: StudyTable | None) -> str:
    if table is None:
        return "–"
    done, cells = table.counted
    if not cells and not table.figures and table.problems:
        return "none"
    return f"{done}/{cells}" if cells else f"{len(table.figures)} picture{'' if len(table.figures) == 1 else 's'}"
