"""What each table of a study is made of: trainings, evaluations of them, and which number of theirs is which cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FULL, DEMO = "full", "demo"
SCALES = (FULL, DEMO)
RUN = re.compile(r"\{run:(\w+)\}")  # the folder of another training, in an override
FILL = re.compile(r"\{(\w+)\}")  # what differs from training to training in an evaluation's overrides
TRAIN = "advvid.train"


@dataclass(frozen=True)
class Work:
    """A training or an evaluation.

    Args:
        name: within its study; a training of several seeds is one for each, such as ``at_seed1``.
        overrides: what the command line is told, by scale.
        data: data sets that it needs at full scale.
        start: the training whose weights it begins with, by scale; absent where it begins anew, or as ``overrides`` say.
        fill: of a training, what it puts into the overrides of its evaluations, such as the paper's settings for its network.
        seed: of a training of several seeds; None otherwise.
        program: the module that carries it out; another one than that of trainings is told no options of a run, and its
            files go to ``{folder}``.
    """

    name: str
    overrides: Mapping[str, tuple[str, ...]]
    data: tuple[str, ...] = ()
    start: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    program: str = TRAIN

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
        measure: what is read there, one of ``measured.MEASURES``, or made of other cells, one of ``made.MADE``.
        options: further settings of the measure.
        why: why there is no number, by scale.
        others: the same training with other seeds, by scale; the cell is the mean over all.
    """

    run: str
    score: str
    column: str
    measure: str = "acc"
    options: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def pairs(self, scale: str) -> list[tuple[str, str]]:
        """Return each pair of training and evaluation behind the cell."""
        return [(run, self.score) for run in (self.run, *self.others.get(scale, ()))]


@dataclass(frozen=True)
class Target:
    """A table or figure that one command makes.

    Args:
        id: its name, such as ``kinfu-table2``.
        study: the file it stands in.
        title: what it shows.
        cells: by row and column; empty for a figure.
        figures: analyses or evaluations whose pictures are the figure: run and score.
        only: which of their pictures, by a pattern of file names without ending.
        note: what a reader must know, by scale.
    """

    id: str
    study: str
    title: str
    cells: Mapping[str, Mapping[str, CellPlan]]
    figures: tuple[tuple[str, str], ...] = ()
    only: str = "*"
    note: Mapping[str, str] = field(default_factory=dict)

    def wanted(self, scale: str) -> Iterator[tuple[str, str]]:
        """Yield each pair of training and evaluation that the target needs, once."""
        cells = [cell for row in self.cells.values() for cell in row.values() if scale not in cell.why]
        yield from dict.fromkeys([*(pair for cell in cells for pair in cell.pairs(scale)), *self.figures])


@dataclass(frozen=True)
class Study:
    """Everything that is run for one paper, or for tables of our own (``own``), at the scales that it has.

    ``pretrained``: what the paper's networks start from, by their option of ``model``, such as ``i3d: Kinetics-400``.
    """

    name: str
    runs: Mapping[str, Work]
    scores: Mapping[str, Work]
    targets: Mapping[str, Target]
    fill: Mapping[str, str] = field(default_factory=dict)
    own: bool = False
    scales: tuple[str, ...] = SCALES
    pretrained: Mapping[str, str] = field(default_factory=dict)

    def works(self, scale: str) -> Iterator[tuple[Work, list[str]]]:
        """Yield each training, and each evaluation with the overrides of one training that it looks at."""
        first: dict[str, str] = {}
        for target in self.targets.values():
            for run, score in target.wanted(scale):
                first.setdefault(score, run)
        for work in self.runs.values():
            yield work, list(work.overrides[scale])
        for score, run in first.items():
            yield self.scores[score], self.overrides(run, score, scale)

    def overrides(self, run: str, score: str, scale: str) -> list[str]:
        """Return the overrides of a training, and with a score, after them those of this evaluation of it."""
        trained = self.runs[run].overrides[scale]
        return [*trained, *(self.score_overrides(run, score, scale) if score else ())]

    def score_overrides(self, run: str, score: str, scale: str) -> list[str]:
        """Return the overrides of an evaluation, with what this training puts into them."""
        work = self.runs[run]
        filled = {**self.fill, **work.fill}
        told = [FILL.sub(lambda found: filled[found[1]], given) for given in self.scores[score].overrides[scale]]
        return [same_seed(given, work.seed, self.runs) for given in told]

    def needs(self, run: str, score: str, scale: str) -> list[str]:
        """Return the other trainings that a training, and with a score this evaluation of it, names."""
        named = RUN.findall(" ".join(self.score_overrides(run, score, scale))) if score else []
        return list(dict.fromkeys([*self.runs[run].needs(scale), *named]))


def seeded(run: str, seed: int | None) -> str:
    """Return the name of a training with one of its seeds."""
    return run if seed is None else f"{run}_seed{seed}"


def same_seed(override: str, seed: int | None, runs: Mapping[str, Any]) -> str:
    """Put trainings of the same seed, where there are such, in the place of those that an override names."""

    def other(found: re.Match[str]) -> str:
        name = seeded(found[1], seed)
        return f"{{run:{name if name in runs else found[1]}}}"

    return RUN.sub(other, override)
