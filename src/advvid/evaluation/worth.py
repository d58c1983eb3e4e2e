"""Whether a table can tell anything: enough clips, enough to choose by, columns that are neither floor nor ceiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advvid.core.errors import AdvvidError
from advvid.evaluation.check_rules import CHOICE, FLOOR, LUCK, Check, finding
from advvid.evaluation.columns import Column
from advvid.evaluation.scores import Score
from advvid.metrics.statistics import wilson

Right = Mapping[str, NDArray[np.bool_]]
Losses = Mapping[str, NDArray[np.floating[Any]]]


def chance(labels: Sequence[Any]) -> tuple[float, Any]:
    """Return the best accuracy without a look at the clips, and the answer that has it: the most frequent label.

    It is at least 1/K, and more where classes are not equally frequent. Of several labels, each counts.

    Example:
        >>> chance([0, 1, 1, 1])
        (0.75, 1)
    """
    counts = Counter(one for label in labels for one in (set(label) if isinstance(label, list) else [label]))
    answer, most = counts.most_common(1)[0]
    return most / len(labels), answer


def above_chance(clean: NDArray[np.bool_], labels: Sequence[Any]) -> Check:
    """Return the check whether clean accuracy is better than always giving the most frequent answer."""
    level, answer = chance(labels)
    low, high = wilson(int(clean.sum()), len(clean))
    said = (
        f"clean accuracy is {clean.mean():.1%} [{low:.1%}, {high:.1%}] on {len(clean)} clips, and always answering class "
        f"{answer} gives {level:.1%}"
    )
    return finding("chance", low <= level, said)


def column_worth(
    columns: Sequence[Column], right: Right, samples: Sequence[Mapping[str, Any]], losses: Losses
) -> Iterator[Check]:
    """Yield the checks whether each attack did anything at all.

    Args:
        columns: of the table.
        right: verdicts by column, and under ``clean``.
        samples: the lines of ``samples.jsonl``.
        losses: of the true label, ``[n]`` by column, and under ``clean``.
    """
    tried = right["clean"]
    if not tried.any():
        return
    for column in columns:
        far = np.array([line["attacks"][column.name]["distance"] for line in samples])[tried]
        budget = getattr(column.attack, "eps", None)
        if budget is None or float(budget) > 0:
            still = int((far == 0).sum())
            yield finding(
                "idle", still == len(far), f"{column.name} left {still} of {len(far)} clips exactly as they were"
            )
        if column.attack.maximises and not column.attack.control and column.access in ("white_box", "adaptive"):
            before, after = (float(losses[name][tried].mean()) for name in ("clean", column.name))
            said = f"the mean loss is {before:.4g} on clean clips and {after:.4g} under {column.name}"
            yield finding("loss_not_raised", after < before - LUCK * abs(before) - 1e-6, said)


def small_validation(reasons: Sequence[str], clips: int) -> list[Check]:
    """Return the check whether the validation split can bear the choices that were made by it; none without a choice.

    Args:
        reasons: what was chosen by it, such as ``the checkpoint``.
        clips: of the validation split.
    """
    if not reasons:
        return []
    low, high = wilson(clips // 2, clips)
    said = (
        f"{' and '.join(reasons)} {'were' if len(reasons) > 1 else 'was'} chosen by {clips} validation clips, on which an "
        f"accuracy of 50% has an interval of {100 * (high - low):.0f} points"
    )
    return [finding("small_validation", high - low > CHOICE, said)]


def level_columns(scores: Mapping[str, Sequence[Score]]) -> Iterator[str]:
    """Say which columns cannot tell their rows apart, since all are at the floor or at the ceiling.

    Args:
        scores: of every row, by column.

    Example:
        >>> zero = Score(0.0, (0.0, 0.04))
        >>> [note.split(":")[0] for note in level_columns({"pgd": [zero, zero]})]
        ['All rows of pgd are at the floor']
    """
    for name, rows in scores.items():
        ends = [row.ci95 for row in rows if row.ci95 is not None]
        if len(ends) < 2:
            continue
        if all(low <= FLOOR for low, _ in ends):
            yield (
                f"All rows of {name} are at the floor: each interval holds {FLOOR:.0%}, so that this column cannot tell them "
                "apart; compare them at a smaller budget, or on more clips."
            )
        if all(high >= 1 - FLOOR for _, high in ends):
            yield (
                f"All rows of {name} are at the ceiling: each interval holds {1 - FLOOR:.0%}, so that this column cannot tell "
                "them apart; compare them on harder clips or at a larger budget, or on more clips."
            )


def require_agreement(name: str, correct: NDArray[np.bool_], hits: NDArray[np.bool_], ids: Sequence[str]) -> None:
    """Refuse a task whose verdict is another one than its prediction and label say: attacks follow the first.

    Args:
        name: of the column.
        correct: what ``Task.correct`` says of the stored outputs, ``[n]``.
        hits: whether the stored prediction is the stored label, ``[n]``.
        ids: of the clips.

    Raises:
        AdvvidError: naming the first clip.
    """
    apart = np.flatnonzero(correct != hits)
    if len(apart):
        raise AdvvidError(
            f"the task calls clip {ids[int(apart[0])]} {'right' if correct[apart[0]] else 'wrong'} under {name}, but its "
            f"prediction says otherwise ({len(apart)} clips in all): Task.correct, predict and label have to agree"
        )
