"""The numbers of the robustness table, from per-clip records alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advvid.core.errors import AdvvidError
from advvid.core.plain import read_lines
from advvid.metrics.statistics import bootstrap_mean, wilson

Samples = Sequence[Mapping[str, Any]]


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Read ``samples.jsonl``, a record per line.

    Raises:
        AdvvidError: if the file is missing, or a line is no record.
    """
    found = read_lines(path)
    for i, sample in enumerate(found, 1):
        if (
            not isinstance(sample, dict)
            or not {"id", "label", "clean", "attacks"} <= sample.keys()
            or not isinstance(sample["id"], str)
            or not isinstance(sample["attacks"], dict)
            or not all(isinstance(row, dict) and _is_answer(row.get("pred", "")) for row in sample["attacks"].values())
            or not _is_answer(sample["clean"])
            or not (
                _is_answer(sample["label"])
                or (isinstance(sample["label"], list) and all(map(_is_answer, sample["label"])))
            )
        ):
            raise AdvvidError(f"record {i} of {path} is malformed: run the evaluation again")
    return found


def _is_answer(value: Any) -> bool:
    """Whether a value is a class, or None where the task has none."""
    return value is None or isinstance(value, int)


def verdicts(samples: Samples, columns: Iterable[str]) -> dict[str, NDArray[np.bool_]]:
    """Tell clip by clip what was right: under ``clean`` and under each column.

    A clip that is wrong on clean counts as wrong in every column. A label may be a list (multi-label data, Hit@1):
    the prediction is right if it is among them.

    Shape:
        samples: n records ``{"id", "label", "clean": pred, "attacks": {column: {"pred", ...}}}``.
        result: ``bool [n]`` for ``"clean"`` and for each column, clips in the order of ``samples``.

    Raises:
        AdvvidError: if there is no record, a clip appears twice, or a clip has no result for a column.
    """
    if not samples:
        raise AdvvidError("no clip was scored: check dataset.splits and dataset.limit_test")
    ids = [sample["id"] for sample in samples]
    if len(set(ids)) < len(ids):
        twice = next(clip for clip in ids if ids.count(clip) > 1)
        raise AdvvidError(f"clip {twice!r} is scored twice: delete samples.jsonl and evaluate again")
    right = {"clean": np.array([_hit(sample["clean"], sample["label"]) for sample in samples])}
    for column in columns:
        for sample in samples:
            if column not in sample["attacks"]:
                raise AdvvidError(
                    f"clip {sample['id']!r} has no result for {column!r}: finish the evaluation with resume=true"
                )
        hits = np.array([_hit(sample["attacks"][column]["pred"], sample["label"]) for sample in samples])
        right[column] = right["clean"] & hits
    return right


def summarise(
    samples: Samples,
    columns: Sequence[str],
    controls: Sequence[str] = (),
    extra: Sequence[str] = (),
    types: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Compute every accuracy of ``robustness.json`` from the per-clip records alone.

    Args:
        samples: the lines of ``samples.jsonl``.
        columns: attack columns, which enter mean and union.
        controls: columns such as random noise, which do not.
        extra: further columns, such as weaker accesses of the same attack, which do not either.
        types: columns whose mean is the accuracy of a type of attack (Kinfu & Vidal, table 4), by the type's name.

    Returns:
        ``n``, ``clean``, ``attacks``, ``mean`` (over clean and the attacks), ``mean_attacks`` (without clean; left
        out where there is no attack), ``union``, ``extra``, ``controls`` and, where given, ``types``.
        Each accuracy is ``{"acc", "ci95"}``, fractions in [0, 1]. Where the task has no right answers (labels are
        None), there is no accuracy, no mean and no union.

    Raises:
        AdvvidError: see ``verdicts``.

    Example:
        >>> record = {"id": "a", "label": 1, "clean": 1, "attacks": {"pgd": {"pred": 0}}}
        >>> summarise([record], ["pgd"])["union"]["acc"]
        0.0
    """
    if samples and not has_verdicts(samples):
        names = {"attacks": columns, "extra": extra, "controls": controls}
        return {"n": len(samples), "clean": {}, **{key: {name: {} for name in of} for key, of in names.items()}}
    right = verdicts(samples, [*columns, *controls, *extra])
    attacked = [right[column] for column in columns]
    every = np.stack([right["clean"], *attacked], axis=1)
    in_all: NDArray[np.bool_] = np.logical_and.reduce(every, axis=1)
    result: dict[str, Any] = {
        "n": len(samples),
        "clean": proportion(right["clean"]),
        "attacks": {column: proportion(right[column]) for column in columns},
        "mean": average(every),
        "union": proportion(in_all),
        "extra": {column: proportion(right[column]) for column in extra},
        "controls": {column: proportion(right[column]) for column in controls},
    }
    if attacked:
        result["mean_attacks"] = average(every[:, 1:])
    if types:
        result["types"] = {
            name: average(np.stack([right[column] for column in members], axis=1)) for name, members in types.items()
        }
    return result


def has_verdicts(samples: Samples) -> bool:
    """Tell whether the task has right and wrong answers: its clips then have labels."""
    return bool(samples) and samples[0]["label"] is not None


def _hit(prediction: int, label: int | Sequence[int]) -> bool:
    return prediction in label if isinstance(label, Sequence) else prediction == label


def proportion(right: NDArray[np.bool_] | Sequence[bool]) -> dict[str, Any]:
    """Return the share of the clips that are right ``[n]`` with Wilson's interval; ``acc`` is None where there is no clip."""
    count, total = int(np.sum(right)), len(right)
    return {"acc": count / total if total else None, "ci95": list(wilson(count, total))}


def average(right: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the mean over clips and columns ``[n, columns]``, with the interval of a paired bootstrap over clips."""
    # The seed is fixed, so that whoever has samples.jsonl finds the same interval.
    return {"acc": float(right.mean()), "ci95": list(bootstrap_mean(right, np.random.default_rng(0)))}
