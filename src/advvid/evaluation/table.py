"""The robustness table as people read it, in the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape as html_escape
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from advvid.core import escape
from advvid.evaluation.scores import EMPTY, ColumnScore, Score, Scores
from advvid.evaluation.worth import level_columns

Runs = Sequence[tuple[str, Scores]]

# Measures that stand in the JSON only: the table says enough by accuracy, and by the whole split beside the deviation.
QUIET = ("top5", "gap_mean", "perr_mean", "hit1_mean")
SECTIONS = (
    ("types", "Types of attack (mean over their columns)"),
    ("controls", "Controls (no attack)"),
    ("extra", "Outside mean and union"),
)
INTERVALS = (
    "Percent of clips classified correctly, [95% interval]: Wilson's for single columns and union, "
    "paired bootstrap over clips for mean."
)
RULES = (
    "mean: over clean and all attack columns. union: right on clean and under every attack column, clip by clip. "
    "A clip that is wrong on clean counts as wrong under attack."
)

OWN_WORDS = (INTERVALS, RULES)
NO_VERDICT = "This task has no right and wrong answers: no accuracy, mean or union."


def percent(score: Mapping[str, Any] | None) -> str:
    """Write an accuracy of plain values as a percentage with its interval.

    Example:
        >>> percent({"acc": 0.513, "ci95": [0.444, 0.581]})
        '51.3 [44.4, 58.1]'
    """
    return said(Score(score.get("acc"), score.get("ci95"))) if score else EMPTY


def said(score: Score | None) -> str:
    """Write a score as a percentage with its interval; a dash where there is none."""
    return EMPTY if score is None else score.said


@dataclass(frozen=True)
class Block:
    """One grid of cells; the first ``fixed`` columns say which run a row belongs to."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    fixed: int = 1

    def stacked(self) -> Block:
        """Return the block with each interval below its accuracy, which is narrower."""
        return replace(self, rows=tuple(tuple(cell.replace(" [", "\n[") for cell in row) for row in self.rows))

    def turned(self) -> Block:
        """Return the block with a row per measurement and a column per run, for narrow terminals."""
        header, *rows = zip(*[self.header, *self.rows], strict=True)
        return replace(self, header=header, rows=tuple(rows), fixed=1)

    def markdown(self) -> str:
        """Return the block as a Markdown table."""
        rule = "| " + " | ".join("---" if i < self.fixed else "---:" for i in range(len(self.header))) + " |"
        head, *body = ["| " + " | ".join(map(escape.cell, line)) + " |" for line in (self.header, *self.rows)]
        text = "\n".join([head, rule, *body])
        return f"### {escape.markdown(self.title)}\n\n{text}" if self.title else text

    def html(self) -> str:
        """Return the block as an HTML table."""
        lines = [(tag, line) for tag, line in (("th", self.header), *(("td", row) for row in self.rows))]
        body = "".join(
            f"<tr>{''.join(f'<{tag}>{html_escape(cell)}</{tag}>' for cell in line)}</tr>" for tag, line in lines
        )
        title = f"<caption>{html_escape(self.title)}</caption>" if self.title else ""
        return f"<table>{title}{body}</table>"

    def rich(self) -> Table:
        """Return the block as a table for the terminal."""
        table = Table(
            title=Text(self.title) if self.title else None,
            title_justify="left",
            title_style="bold",
            header_style="bold cyan",
        )
        for i, name in enumerate(self.header):
            table.add_column(Text(name), justify="left" if i < self.fixed else "right", no_wrap=i >= self.fixed)
        for row in self.rows:
            table.add_row(*(_coloured(cell) for cell in row))
        return table


@dataclass(frozen=True)
class ResultTable:
    """Blocks with footnotes; a rich renderable that chooses a form fitting the terminal's width."""

    title: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """Return everything as a Markdown document."""
        heading = [f"# {escape.markdown(self.title)}"] if self.title else []
        notes = "\n".join(f"- {note if note in OWN_WORDS else escape.markdown(note)}" for note in self.notes)
        return "\n\n".join([*heading, *(block.markdown() for block in self.blocks), notes]) + "\n"

    def html(self) -> str:
        """Return everything as a piece of HTML, for a notebook."""
        title = f"<strong>{html_escape(self.title)}</strong>" if self.title else ""
        notes = "".join(f"<li>{html_escape(note)}</li>" for note in self.notes)
        return f"{title}{''.join(block.html() for block in self.blocks)}<ul>{notes}</ul>"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, style="bold")
        for block in self.blocks:
            yield self._fitting(block, console, options)
        for note in self.notes:
            yield Text(note, style="dim")

    @staticmethod
    def _fitting(block: Block, console: Console, options: ConsoleOptions) -> RenderableType:
        unlimited = options.update(max_width=10_000)
        widths: dict[int, Table] = {}
        for form in (block, block.stacked(), block.turned(), block.turned().stacked()):
            table = form.rich()
            width = Measurement.get(console, unlimited, table).maximum
            if width <= options.max_width:
                return table
            widths.setdefault(width, table)
        return widths[min(widths)]


def robustness_table(
    runs: Runs, title: str = "", describe: Mapping[str, Sequence[str]] | None = None, intervals: str = INTERVALS
) -> ResultTable:
    """Lay out one or several tables as one, a row per run.

    Args:
        runs: pairs of a label and a table.
        title: heading.
        describe: further columns between the label and n: name to a value per run.
        intervals: the footnote that says what the brackets hold.

    Example:
        >>> score = Score(0.5, (0.1, 0.9))
        >>> run = Scores(n=2, seed=0, clean=score, mean=score, union=score)
        >>> print(robustness_table([("cat", run)]).markdown().splitlines()[2])
        | cat | 2 | 0 | 50.0 [10.0, 90.0] | 50.0 [10.0, 90.0] | 50.0 [10.0, 90.0] |
    """
    described = dict(describe or {})
    keys = [[label, *(values[i] for values in described.values())] for i, (label, _) in enumerate(runs)]
    attacks = names_of(runs, "attacks")
    rows = tuple(
        (
            *key,
            str(run.n),
            str(EMPTY if run.seed is None else run.seed),
            *map(said, (run.clean, *(run.attacks.get(name) for name in attacks), run.mean, run.union)),
        )
        for key, (_, run) in zip(keys, runs, strict=True)
    )
    header = ("run", *described, "n", "seed", "clean", *attacks, "mean", "union")
    fixed = 3 + len(described)
    judged = any(run.clean.acc is not None for _, run in runs)
    if not judged:  # nothing is right or wrong, as in next-frame prediction: the measures alone say how it went
        header, rows = header[:fixed], tuple(row[:fixed] for row in rows)
    blocks = [Block("", header, rows, fixed=fixed)]
    for section, name in SECTIONS if judged else ():
        columns = names_of(runs, section)
        if columns:
            cells = tuple((label, *(said(run.sections()[section].get(c)) for c in columns)) for label, run in runs)
            blocks.append(Block(name, ("run", *columns), cells))
    measured = _measured(runs, "Further measures" if judged else "Measures")
    if measured:
        blocks.append(measured)
    rules = (intervals, RULES) if judged else (NO_VERDICT,)
    return ResultTable(title, tuple(blocks), (*rules, *_budgets(runs), *_level(runs), *_warnings(runs)))


def _measured(runs: Runs, title: str) -> Block | None:
    """Lay out the task's further measures, a row per run and measure; None where no run has any."""
    columns = names_of(runs, "attacks") + names_of(runs, "controls")
    rows = []
    for label, run in runs:
        scores: dict[str, Score] = {"clean": run.clean, **run.attacks, **run.controls}
        for metric in dict.fromkeys(m for score in scores.values() for m in score.metrics if m not in QUIET):
            values = [scores[name].metrics.get(metric) if name in scores else None for name in ("clean", *columns)]
            rows.append((label, metric, *(f"{v:.4g}" if isinstance(v, int | float) else EMPTY for v in values)))
    return Block(title, ("run", "measure", "clean", *columns), tuple(rows), fixed=2) if rows else None


def names_of(runs: Runs, section: str) -> list[str]:
    """Return the columns that any run has in a section, in order of first appearance."""
    return list(dict.fromkeys(name for _, run in runs for name in run.sections()[section]))


def allowed(score: ColumnScore) -> str:
    """Say what the attack of a column was allowed: budget and access."""
    return ", ".join(part for part in (score.budget, score.access) if part and part != "none")


def _budgets(runs: Runs) -> Iterator[str]:
    """Yield for each column what the attack was allowed; more than one entry where the runs differ."""
    for section in Scores.COLUMNS:
        for name in names_of(runs, section):
            scores = [run.sections()[section][name] for _, run in runs if name in run.sections()[section]]
            distinct = list(dict.fromkeys(text for score in scores if (text := allowed(score))))
            yield from (f"{name}: {note}" for note in dict.fromkeys(n for score in scores for n in score.notes))
            if distinct:
                yield f"{name}: " + " | ".join(distinct) + (" (differs by run)" if len(distinct) > 1 else "")


def _level(runs: Runs) -> Iterator[str]:
    """Yield which columns cannot tell the runs apart."""
    scores = {"clean": [run.clean for _, run in runs], "union": [run.union for _, run in runs if run.union]}
    for section in ("attacks", "controls"):
        for name in names_of(runs, section):
            scores[name] = [run.columns[name] for _, run in runs if name in run.columns]
    yield from level_columns(scores)


def _warnings(runs: Runs) -> Iterator[str]:
    """Yield what a reader must know before believing a row: raised checks and clips that were not scored."""
    for label, run in runs:
        made = [check for check in run.checks if check.name]
        names = list(dict.fromkeys(check.name for check in made if check.raised))
        if made:
            verdict = f"{sum(check.raised for check in made)} raised ({', '.join(names)})" if names else "none raised"
            yield f"Checks of {label}: {len(made)} made, {verdict}."
        yield from (f"Check raised for {label}: {check.sentence}" for check in run.raised)
        if run.missing:
            yield f"{label}: {len(run.missing)} clips are missing (unreadable videos); n counts only scored ones."


def _coloured(cell: str) -> Text:
    """Set the accuracy in bold and its interval dim."""
    number, bracket, interval = cell.partition("[")
    return Text(number, style="bold") + Text(bracket + interval, style="dim") if bracket else Text(cell)
