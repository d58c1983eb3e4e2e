"""The numbers of a robustness table: of each column, and of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from advvid.core.errors import AdvvidError
from advvid.evaluation.check_rules import Check

EMPTY = "–"


@dataclass(frozen=True)
class Score:
    """An accuracy with its interval, and the task's further measures.

    Args:
        acc: share of clips that are right, in [0, 1]; None where the task has no right answers.
        ci95: lower and upper end of its 95% interval, in [0, 1].
        metrics: of the task, such as ``top5`` or ``mse``.
        near_ties: clips whose verdict hangs on less than 1e-4.
    """

    acc: float | None = None
    ci95: tuple[float, float] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    near_ties: int | None = None

    @property
    def said(self) -> str:
        """The accuracy in percent with its interval.

        Example:
            >>> Score(0.513, (0.444, 0.581)).said
            '51.3 [44.4, 58.1]'
        """
        if self.acc is None or self.ci95 is None:
            return EMPTY
        return f"{100 * self.acc:.1f} [{100 * self.ci95[0]:.1f}, {100 * self.ci95[1]:.1f}]"


@dataclass(frozen=True)
class ColumnScore(Score):
    """The score under one attack, with what the attack was allowed and what it cost.

    Args:
        access: ``oblivious``, ``gray_box``, ``white_box``, ``adaptive``, or ``none`` for a control.
        threat: class of the threat set.
        budget: in words, such as ``l-inf 8/255``.
        notes: what a reader of the column must know.
        max_distance: largest distance measured, in the threat's unit.
        violations: clips outside the threat set; a table with any is never written.
        settings: class and settings of the attack.
        seconds: spent on the column.
        gradient_calls: over all clips.
        measures: of visibility and sparsity, such as ``fooling_rate``.
        after: the postprocessing behind which the same clips were scored again.
    """

    access: str | None = None
    threat: str | None = None
    budget: str | None = None
    notes: tuple[str, ...] = ()
    max_distance: float | None = None
    violations: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    gradient_calls: int | None = None
    measures: Mapping[str, Any] = field(default_factory=dict)
    after: str | None = None


@dataclass(frozen=True)
class Scores:
    """Accuracies of a model on clean clips and under every attack, with all that they rest on.

    Args:
        n: clips scored.
        clean: without an attack.
        attacks: the columns that enter mean and union, by name.
        controls: random noise and framings.
        extra: other accesses of an attack (``pgd@gray_box``) and clips after postprocessing.
        types: means over the columns of a type of attack.
        mean: over clean and all attacks; None where there is no accuracy.
        mean_attacks: over the attacks alone.
        union: right on clean and under every attack, clip by clip.
        missing: ids of clips that could not be read.
        checks: what was looked for that makes a table wrong, raised or not.
        identity: digests of what the numbers rest on.
        config: of the run, as plain values.
        seed: of the run.
        commit: of the source code.
        versions: of packages.
        read_by: clips that each decoder read, named with its version; empty where clips are not read from video files.
        samples: a record per clip, as in ``samples.jsonl``; empty in a table that was read from its JSON alone.

    Example:
        >>> table = Scores(n=2, clean=Score(0.5, (0.1, 0.9)))
        >>> table["clean"].acc
        0.5
    """

    n: int | str
    clean: Score
    attacks: Mapping[str, ColumnScore] = field(default_factory=dict)
    controls: Mapping[str, ColumnScore] = field(default_factory=dict)
    extra: Mapping[str, ColumnScore] = field(default_factory=dict)
    types: Mapping[str, Score] = field(default_factory=dict)
    mean: Score | None = None
    mean_attacks: Score | None = None
    union: Score | None = None
    missing: Sequence[str] = ()
    checks: Sequence[Check] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | str | None = None
    commit: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    read_by: Mapping[str, int] = field(default_factory=dict)
    samples: Sequence[Mapping[str, Any]] = field(default=(), repr=False, compare=False)

    SINGLE: ClassVar = ("clean", "mean", "mean_attacks", "union")
    COLUMNS: ClassVar = ("attacks", "controls", "extra")
    SECTIONS: ClassVar = (*COLUMNS, "types")

    def sections(self) -> dict[str, Mapping[str, Any]]:
        """Return the scores by section: attacks, controls, extra, types."""
        return {name: getattr(self, name) for name in self.SECTIONS}

    @property
    def columns(self) -> dict[str, ColumnScore]:
        """Every column of an attack or a control, by name."""
        return {name: score for section in self.COLUMNS for name, score in getattr(self, section).items()}

    @property
    def scores(self) -> dict[str, Score]:
        """Every score by name: clean, mean and union where there are any, every column, every type."""
        single = {name: score for name in self.SINGLE if (score := getattr(self, name)) is not None}
        types = {name: score for name, score in self.types.items() if name not in self.columns}
        return {**single, **self.columns, **types}

    @property
    def raised(self) -> list[Check]:
        """The checks that a reader must know of before believing the table."""
        return [check for check in self.checks if check.raised]

    def __getitem__(self, name: str) -> Score:
        scores = self.scores
        if name not in scores:
            raise AdvvidError(f"the table has no column {name!r}: choose from {', '.join(scores)}")
        return scores[name]
