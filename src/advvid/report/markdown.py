"""A report as Markdown, for a repository or a merge request: the same tables, with pictures as links to their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from advvid.core.escape import fenced, picture
from advvid.core.escape import markdown as escaped
from advvid.evaluation.table import INTERVALS, RULES
from advvid.report.page import Page, RunPart


def markdown(page: Page, folder: Path) -> str:
    """Return the page as Markdown; paths of pictures are relative to ``folder``, where the file will lie."""
    return "\n\n".join(_parts(page, folder)) + "\n"


def _parts(page: Page, folder: Path) -> Iterator[str]:
    yield f"# {escaped(page.title)}"
    if page.summary is not None:
        yield from map(escaped, page.summary.said)
        yield page.summary.grid.markdown()
    yield f"{INTERVALS} {RULES}"
    if page.papers:
        yield (
            "Published is what the paper printed; full is measured on its data set, demo on small embedded data with narrow "
            "networks. A difference is measured minus published."
        )
    for scale, counts in page.verdicts.items():
        yield f"Claims at {scale} scale: {', '.join(f'{words} {count}' for words, count in counts.items())}."
    for paper in page.papers:
        yield f'<a id="{paper.anchor}"></a>\n\n## {escaped(paper.heading)}'
        captions = " ".join(table.caption for table in paper.table.scales.values())
        yield escaped(f"{paper.table.first.paper}. {captions}".strip())
        lines = []
        for scale, said in paper.told.items():
            command = paper.table.scales[scale].command
            code = f"`{command.replace('`', '')}`" if command else ""
            lines.append(f"- {scale} scale: {'; '.join(filter(None, (escaped(said), code)))}")
        yield "\n".join(lines)
        if paper.table.columns:
            yield paper.grid.markdown()
        yield from (_picture(figure.alt, figure.source, folder) for figure in paper.figures)
        if paper.claims is not None:
            yield paper.claims.markdown()
    for part in page.comparisons:
        yield f"## Measured ({part.scale}) on {escaped(part.heading)}"
        yield part.grid.markdown()
    for run in page.parts:
        yield from _run(run, folder)
    if page.notes:
        yield "\n".join(f"[^{note.number}]: {escaped(note.text)}" for note in page.notes)


def _run(part: RunPart, folder: Path) -> Iterator[str]:
    run = part.section
    heading = run.name if run.name == run.found.label else f"{run.name} ({run.found.label})"
    yield f'<a id="{run.anchor}"></a>\n\n## {escaped(heading)}'
    yield fenced(run.command)
    if part.without:
        yield escaped(part.without)
    facts = [f"- {name}: {escaped(text)}" for name, text in run.facts.items()]
    facts += [f"- checks: {run.made} made, {len(run.checks) or 'none'} raised"] if run.made else []
    if facts:
        yield "\n".join(facts)
    yield from (f"> {escaped(check)}" for check in run.checks)
    if run.grid is not None:
        yield run.grid.markdown()
    for analysis in part.analyses:
        yield f"### {escaped(analysis.name)}"
        yield from (_picture(figure.alt, figure.source, folder) for figure in analysis.figures)
        yield from (table.markdown() for table in analysis.grids)
        yield from map(escaped, analysis.notes)
        if analysis.left_out:
            yield escaped(analysis.left_out)
    for path, alt in {film.source: film.alt for film in part.films if not part.drawn}.items():
        yield _picture(alt, path, folder)
    for summary, text in (("Settings of the attacks", run.settings), ("Configuration", run.config)):
        if text:
            yield f"<details><summary>{summary}</summary>\n\n{fenced(text, 'yaml')}\n\n</details>"


def _picture(alt: str, path: Path, folder: Path) -> str:
    return picture(alt, Path(os.path.relpath(path.resolve(), folder.resolve())))
