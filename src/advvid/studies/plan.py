"""What each table of a paper is made of: trainings, evaluations of them, and which number of theirs is which cell.

Read from ``targets/<paper>.yaml``. Tables of one paper share trainings and evaluations by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from advvid.config.folders import folders
from advvid.core.errors import AdvvidError
from advvid.studies.published import published_tables, read_yaml

FOLDER = Path(__file__).resolve().parent / "targets"
FULL, DEMO = "full", "demo"
RUN = re.compile(r"\{run:(\w+)\}")  # the folder of another training, in an override
FILL = re.compile(r"\{(\w+)\}")  # what differs from training to training in an evaluation's overrides
SCALES = (FULL, DEMO)


@dataclass(frozen=True)
class Work:
    """A training or an evaluation.

    Args:
        name: within its paper.
        overrides: what the command line is told, by scale.
        data: data sets that it needs at full scale.
        start: the training whose weights it begins with, by scale; absent where it begins anew, or as ``overrides`` say.
        fill: of a training, what it puts into the overrides of its evaluations, such as the paper's settings for its network.
    """

    name: str
    overrides: Mapping[str, tuple[str, ...]]
    data: tuple[str, ...] = ()
    start: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, str] = field(default_factory=dict)

    def needs(self, scale: str) -> list[str]:
        """Return the trainings that its overrides name, which come before it."""
        return list(dict.fromkeys(RUN.findall(" ".join(self.overrides[scale]))))


@dataclass(frozen=True)
class CellPlan:
    """Where the number of one cell comes from.

    Args:
        run: the training.
        score: its evaluation.
        column: of that evaluation; the table's own name for it by default.
        measure: what is read there, one of ``measured.MEASURES``, or ``row_mean`` and ``row_difference``
            of other cells of the row, or ``relative`` of two rows.
        options: further settings of the measure.
        why: why there is no number, by scale.
    """

    run: str
    score: str
    column: str
    measure: str = "acc"
    options: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A table or figure that one command makes.

    Args:
        id: its name, such as ``kinfu-table2``.
        paper: the file it stands in.
        title: what it shows.
        cells: by row and column; empty for a figure.
        figures: analyses or evaluations whose pictures are the figure: run and score.
        only: which of their pictures, by a pattern of file names without ending.
        note: what differs from the paper, by scale.
    """

    id: str
    paper: str
    title: str
    cells: Mapping[str, Mapping[str, CellPlan]]
    figures: tuple[tuple[str, str], ...] = ()
    only: str = "*"
    note: Mapping[str, str] = field(default_factory=dict)

    def wanted(self, scale: str) -> Iterator[tuple[str, str]]:
        """Yield each pair of training and evaluation that the target needs, once."""
        pairs = [(c.run, c.score) for row in self.cells.values() for c in row.values() if scale not in c.why]
        yield from dict.fromkeys([*pairs, *self.figures])


@dataclass(frozen=True)
class Study:
    """Everything that is run for one paper."""

    name: str
    runs: Mapping[str, Work]
    scores: Mapping[str, Work]
    targets: Mapping[str, Target]
    fill: Mapping[str, str] = field(default_factory=dict)

    def overrides(self, run: str, score: str, scale: str) -> list[str]:
        """Return the overrides of a training, and with a score, after them those of this evaluation of it."""
        trained = self.runs[run].overrides[scale]
        return [*trained, *(self.score_overrides(run, score, scale) if score else ())]

    def score_overrides(self, run: str, score: str, scale: str) -> list[str]:
        """Return the overrides of an evaluation, with what this training puts into them."""
        filled = {**self.fill, **self.runs[run].fill}
        return [FILL.sub(lambda found: filled[found[1]], override) for override in self.scores[score].overrides[scale]]


@cache
def plans() -> Mapping[str, Study]:
    """Return the plan of every paper, then those of the user's own folders: ``study/*.yaml`` of a folder of options.

    Raises:
        AdvvidError: if a cell names a training or an evaluation that does not exist, or a study of one's own has the name of
            another.
    """
    found = {path.stem: read(path) for path in sorted(FOLDER.glob("*.yaml"))}
    for path in (path for place in folders()[1:] for path in sorted((place / "study").glob("*.yaml"))):
        study = read(path)
        taken = {path.stem} & set(found) or set(study.targets) & {
            name for other in found.values() for name in other.targets
        }
        if taken:
            raise AdvvidError(f"{path}: there is a study or table {min(taken)} already: choose another name")
        found[path.stem] = study
    return found


def all_targets() -> dict[str, Target]:
    """Return every target by its id."""
    return {name: target for plan in plans().values() for name, target in plan.targets.items()}


def find_target(name: str) -> tuple[Study, Target]:
    """Return a target with its paper's plan.

    Raises:
        AdvvidError: if there is none of this name.
    """
    for plan in plans().values():
        if name in plan.targets:
            return plan, plan.targets[name]
    raise AdvvidError(f"there is no table or figure {name!r}: python -m advvid.papers list shows all")


def read(path: Path) -> Study:
    """Read one plan."""
    content = read_yaml(path)
    runs = {work.name: work for name, node in content["runs"].items() for work in _works(name, node or {})}
    scores = {work.name: work for name, node in content["scores"].items() for work in _works(name, node or {})}
    common = _by_scale(content.get("note", {}))
    targets = {name: _target(name, path.stem, node, common) for name, node in content["targets"].items()}
    plan = Study(path.stem, runs, scores, targets, _texts(content.get("fill", {})))
    for work in (*runs.values(), *scores.values()):
        lacking = [name for scale in SCALES for name in work.needs(scale) if name not in runs]
        if lacking:
            raise AdvvidError(f"{path.name}: {work.name} names the training {lacking[0]}, which is not there")
    for target in targets.values():
        for scale in SCALES:
            for run, score in target.wanted(scale):
                if run not in runs or score not in scores:
                    raise AdvvidError(f"{path.name}: {target.id} wants {score} of {run}, and one of them is not there")
    return plan


def _works(name: str, node: Mapping[str, Any]) -> Iterator[Work]:
    """Yield a training, or one for each entry of ``for``, whose overrides come last and whose name fills ``{each}``."""
    if "for" not in node:
        yield _work(name, node)
        return
    for each, overrides in node["for"].items():
        yield _work(name.format(each=each), {**node, "overrides": [*node.get("overrides", []), *overrides]})


def _work(name: str, node: Mapping[str, Any]) -> Work:
    first = [f"experiment={node['experiment']}"] if "experiment" in node else []
    start = _by_scale(node.get("start", {}))
    overrides = {scale: (*first, *_flat(node.get("overrides", [])), *_flat(node.get(scale, []))) for scale in SCALES}
    overrides |= {s: (*overrides[s], f"model.checkpoint={{run:{run}}}/checkpoints/last.pt") for s, run in start.items()}
    return Work(name, overrides, tuple(_flat(node.get("data", []))), start, _texts(node.get("fill", {})))


def _target(name: str, paper: str, node: Mapping[str, Any], shared: Mapping[str, str]) -> Target:
    printed = published_tables().get(node.get("published", name))
    cells: dict[str, dict[str, CellPlan]] = {}
    title = node.get("title") or (printed.title if printed else name)
    rows, columns = node.get("rows", {}), node.get("columns", {})
    common = {"why": node["why"]} if "why" in node else None
    # A table that nobody has published says its rows and columns itself.
    for row in printed.rows if printed else rows:
        cells[row] = {
            column: _cell(row, column, [node.get("cell"), columns.get(column), rows.get(row),
                                        node.get("cells", {}).get(f"{row}/{column}"), common])
            for column in (printed.columns if printed else columns)
        }  # fmt: skip
    figures = tuple((str(run), str(score)) for run, score in node.get("figures", []))
    own = _by_scale(node.get("note", {}))
    notes = {scale: " ".join(n[scale] for n in (shared, own) if scale in n) for scale in {**shared, **own}}
    return Target(name, paper, title, cells, figures, str(node.get("only", "*")), notes)


def _cell(row: str, column: str, settings: Sequence[Any]) -> CellPlan:
    """Lay a table's settings, then those of column, row and cell over each other; a bare string names the training."""
    merged: dict[str, Any] = {"row": row, "run": row, "column": column}
    for found in settings:
        merged |= {"run": found} if isinstance(found, str) else (found or {})
    names = {key: value for key, value in merged.items() if isinstance(value, str)}
    filled = {key: value.format(**names) if isinstance(value, str) else value for key, value in merged.items()}
    known = ("row", "run", "score", "column", "show", "measure", "why")
    options = {key: value for key, value in filled.items() if key not in known}
    shown = str(filled.get("show", filled["column"]))
    return CellPlan(
        str(filled["run"]), str(filled.get("score", "")), shown, str(filled.get("measure", "acc")),
        options, _by_scale(filled.get("why", {})),
    )  # fmt: skip


def _by_scale(value: str | Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(SCALES, value) if isinstance(value, str) else _texts(value)


def _texts(node: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in node.items()}


def _flat(value: Any) -> list[str]:
    """Flatten lists of lists, which is what YAML's anchors make of shared overrides."""
    return [override for item in value for override in _flat(item)] if isinstance(value, list) else [str(value)]
