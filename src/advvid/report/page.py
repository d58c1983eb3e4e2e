"""What a report holds, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.core.progress import spoken
from advvid.report.analyses import AnalysisSection, Drawn, analysis_sections
from advvid.report.animations import Film, films
from advvid.report.embed import Room, figure
from advvid.report.grid import Grid, anchor
from advvid.report.joined import JoinedTable
from advvid.report.notes import Note, Notes
from advvid.report.paper_grid import Runs, claims_grid, paper_grid, runs_of, uniform, verdict_counts
from advvid.report.rendering import rendered
from advvid.report.runs import RunSection, comparisons, run_sections
from advvid.report.summary import Summary, summary


@dataclass(frozen=True)
class PaperSection:
    """A paper's table: ``told`` says by scale on what and how it was measured."""

    table: JoinedTable
    anchor: str
    grid: Grid
    told: Mapping[str, str]
    figures: tuple[Drawn, ...]
    claims: Grid | None

    @property
    def heading(self) -> str:
        """The table's name and what it shows."""
        return f"{self.table.first.id}: {self.table.first.title}"


@dataclass(frozen=True)
class Comparison:
    """Runs of one data set side by side."""

    anchor: str
    scale: str
    heading: str
    grid: Grid


@dataclass(frozen=True)
class RunPart:
    """A run with its analyses and films; ``drawn`` where its pictures stand beside a paper's table."""

    section: RunSection
    analyses: tuple[AnalysisSection, ...]
    films: tuple[Film, ...]
    drawn: bool = False

    @property
    def without(self) -> str:
        """Why there is nothing to show of the folder; "" where there is something."""
        if self.section.found.result is not None or self.analyses or self.films:
            return ""
        if self.section.only_trained:
            return "It trained a model and scored nothing."
        return f"No table: {self.section.found.problem}."


@dataclass(frozen=True)
class Page:
    """A whole report.

    Args:
        title: heading.
        summary: a row per run that was asked for; None where none has a table.
        papers: tables of papers beside measured numbers.
        comparisons: runs side by side, per data set.
        parts: every run.
        notes: footnotes.
        verdicts: number of claims by scale and verdict.
        refused: how many pictures found no room.
    """

    title: str
    summary: Summary | None
    papers: tuple[PaperSection, ...]
    comparisons: tuple[Comparison, ...]
    parts: tuple[RunPart, ...]
    notes: tuple[Note, ...]
    verdicts: Mapping[str, Mapping[str, int]]
    refused: int

    @property
    def raised(self) -> int:
        """How many checks are raised, over all runs."""
        return sum(len(part.section.checks) for part in self.parts)

    def html(self) -> str:
        """Return the page as one HTML file that loads nothing."""
        return rendered("report.html", self.title, page=self)


def build_page(
    folders: Sequence[Path],
    tables: Sequence[JoinedTable] = (),
    title: str = "Robustness report",
    megabytes: float = 10.0,
    clips: int = 1,
) -> Page:
    """Gather everything below folders, and the runs that tables name, into a page.

    Args:
        folders: of runs, sweeps, or ``outputs/``; their runs are compared side by side.
        tables: of papers, see ``advvid.studies.table``.
        title: heading.
        megabytes: for all pictures; those that find no room are counted and left out.
        clips: of each contact sheet.

    Raises:
        AdvvidError: if a folder does not exist, or there is nothing to show.
    """
    sections = run_sections([*folders, *runs_of(tables)])
    if not sections and not tables:
        raise AdvvidError(
            f"there is no run below {', '.join(map(str, folders)) or 'no folder'}: give the folders of finished runs"
        )
    notes, room = Notes(), Room(megabytes)
    runs = Runs(sections, notes)
    papers = tuple(_paper(table, runs, room) for table in tables)
    asked = {section.found.path for section in run_sections(folders)} if folders else set()
    own = [s for s in sections if s.found.path in asked]  # those behind the tables of papers stand there already
    side_by_side = tuple(
        Comparison(anchor("measured", scale, heading), scale, heading, grid)
        for scale, heading, grid in comparisons(own, notes)
    )
    drawn = {
        found.folder.resolve() for table in tables for found in table.analyses
    }  # their pictures stand beside the tables
    parts = tuple(
        RunPart(
            section,
            tuple(analysis_sections(section.found.path, room, section.found.path.resolve() not in drawn)),
            tuple(films(section.found.path, section.found.result, room, clips)),
            section.found.path.resolve() in drawn,
        )
        for section in sections
    )
    verdicts = verdict_counts([claim for table in tables for claim in table.claims])
    return Page(title, summary(own), papers, side_by_side, parts, notes.all, verdicts, room.refused)


def _paper(table: JoinedTable, runs: Runs, room: Room) -> PaperSection:
    drawn, title = [], table.first.title
    for scale, given in table.figures:
        picture = figure(given.path)
        if picture is None:
            raise AdvvidError(f"the figure {given.path} of the table {table.first.id} cannot be read: correct its path")
        if room.take([picture]):
            said = f"{title}: {given.alt}" if given.alt else f"Figure of {title}"
            drawn.append(Drawn(picture, f"{said} ({scale} scale)", given.path, given.alt))
    claims = claims_grid(table.claims) if table.claims else None
    same = uniform(table)
    told = {}
    for scale, one in table.scales.items():
        cost = f"{spoken(one.seconds)} of computing" if one.seconds else ""
        told[scale] = ", ".join(filter(None, (one.dataset, same, cost)))
    name = anchor("table", table.first.id)
    return PaperSection(table, name, paper_grid(table, runs), told, tuple(drawn), claims)
