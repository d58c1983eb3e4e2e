"""From per-clip results to ``robustness.json``, ``robustness.md`` and the table in the terminal."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from advvid.core.identity import PACKAGES, Identity
from advvid.core.installed import installed
from advvid.evaluation.check_rules import Check
from advvid.evaluation.checks import table_checks
from advvid.evaluation.evaluator import CLEAN, Evaluator
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import Score
from advvid.evaluation.tally import has_verdicts, summarise, verdicts
from advvid.evaluation.visibility import column_measures
from advvid.evaluation.worth import above_chance, column_worth, require_agreement
from advvid.tasks.base import Task
from advvid.tracking.trackers import Tracker

# A verdict nearer to tipping over than this may differ between batch sizes or machines.
NEAR_TIE = 1e-4


def assemble(
    samples: Sequence[Mapping[str, Any]],
    evaluator: Evaluator,
    targets: Any,
    checks: Sequence[Check] = (),
    types: Mapping[str, Sequence[str]] | None = None,
) -> RobustnessTable:
    """Return the robustness table without its provenance, see ``with_provenance``.

    Args:
        samples: the lines of ``samples.jsonl``.
        evaluator: which knows the task and the columns and still holds the model's outputs.
        targets: labels of the split, in the order of ``samples``.
        checks: what was found on the model itself; the checks on the columns are added.
        types: columns whose mean is the accuracy of a type of attack.
    """
    task = evaluator.task
    columns = evaluator.columns
    sections = {c.name: "controls" if c.attack.control else "extra" if "@" in c.name else "attacks" for c in columns}
    after = [f"{name}@{step.name}" for name in (CLEAN, *sections) for step in evaluator.postprocess]
    attacks, controls, extra = (
        [n for n, s in sections.items() if s == kind] for kind in ("attacks", "controls", "extra")
    )
    table = {**summarise(samples, attacks, controls, [*extra, *after], types or {})}
    right = verdicts(samples, [*sections, *after]) if has_verdicts(samples) else {}
    clean = evaluator.outputs(CLEAN)
    table["clean"] |= {"metrics": task.metrics(clean, targets), "near_ties": near_ties(task, clean, targets)}
    for column in columns:
        entry = table[sections[column.name]][column.name]
        rows = [sample["attacks"][column.name] for sample in samples]
        out = evaluator.outputs(column.name)
        entry |= {
            "metrics": task.metrics(out, targets),
            "access": "none" if column.attack.control else column.access,
            "threat": type(column.attack.threat).__name__,
            "budget": column.attack.stated_budget,
            "notes": list(column.attack.notes(clean.shape[-1])),
            "max_distance": max((row["distance"] for row in rows), default=0.0),
            # A violation stops the evaluation, so a table that exists has none.
            "violations": 0,
            "settings": column.settings,
            "seconds": round(sum(row["seconds"] for row in rows), 2),
            "gradient_calls": sum(row["gradient_calls"] for row in rows),
            "near_ties": near_ties(task, out, targets),
        }
        if right:
            entry["measures"] = column_measures(samples, column.name, right)
    for name in after:
        table["extra"][name]["after"] = next(repr(s) for s in evaluator.postprocess if name.endswith(f"@{s.name}"))
    found = [*checks]
    if right:
        losses = {n: task.loss(evaluator.outputs(n), targets).numpy() for n in (CLEAN, *sections)}
        found += table_checks(columns, right, clean.shape[1], losses)
        found.append(above_chance(right[CLEAN], [sample["label"] for sample in samples]))
        found += column_worth(columns, right, samples, losses)
        _require_agreement(evaluator, task, targets, right)
    return RobustnessTable.of({**table, "checks": [dataclasses.asdict(check) for check in found]}, samples)


def with_provenance(table: RobustnessTable, evaluator: Evaluator, identity: Identity) -> RobustnessTable:
    """Return the table with what its numbers rest on: digests, code and versions.

    Rows of two runs are comparable clip by clip where ``identity["clips"]`` is the same.

    Args:
        table: of the evaluator.
        evaluator: which has run.
        identity: of the configuration.
    """
    rests_on = {
        "parts": identity.part_digests(),
        "clips": evaluator.clips.digest,
        "model": evaluator.weights,
        "columns": evaluator.keys,
    }
    return dataclasses.replace(table, identity=rests_on, commit=commit(), versions=versions())


def _require_agreement(evaluator: Evaluator, task: Task, targets: Any, right: Mapping[str, Any]) -> None:
    """Hold the task's own verdicts on the stored outputs against those of the table."""
    ids = [str(clip) for clip in evaluator.cells.column(CLEAN)["id"]]
    for name in (CLEAN, *(column.name for column in evaluator.columns)):
        correct = task.correct(evaluator.outputs(name), targets)
        if correct is not None:
            require_agreement(name, correct.numpy() & right[CLEAN], right[name], ids)


def near_ties(task: Task, out: Any, targets: Any) -> int | None:
    """Count the clips whose verdict hangs on less than ``NEAR_TIE``; None where the task has no verdict."""
    margin = task.margin(out, targets)
    return None if margin is None else int((margin.abs() < NEAR_TIE).sum())


def write(
    run_dir: Path, table: RobustnessTable, tracker: Tracker, pictures: Mapping[str, Path], films: Mapping[str, Path]
) -> None:
    """Write the table in all its forms and show it.

    Args:
        run_dir: where ``robustness.json`` and ``robustness.md`` go.
        table: of the run.
        tracker: receives the table, the accuracies and the pictures.
        pictures: contact sheets by column.
        films: short videos by column.
    """
    table.save(run_dir)
    Console().print(table)
    scores = {"clean": table.clean, **table.attacks, **table.controls}
    scores |= {name: score for name in ("mean", "union") if (score := getattr(table, name)) is not None}
    rows = [[name, *_in_percent(score), table.n] for name, score in scores.items() if score.acc is not None]
    if rows:  # a task may have no verdicts
        tracker.table("robustness", ["column", "accuracy (%)", "low", "high", "clips"], rows)
    tracker.summary({f"acc/{name}": score.acc for name, score in scores.items() if score.acc is not None})
    for name, path in pictures.items():
        tracker.image(name, path)
    for name, path in films.items():
        tracker.video(name, path)
    tracker.artifact("robustness", [run_dir / "robustness.json", run_dir / "samples.jsonl"])


def _in_percent(score: Score) -> list[float]:
    """Return an accuracy and the ends of its interval, in percent."""
    assert score.acc is not None
    return [round(100 * value, 2) for value in (score.acc, *(score.ci95 or (score.acc, score.acc)))]


def commit() -> str | None:
    """Return the commit of the source checkout (with ``+changes`` where it was edited), None for an installed package."""
    here = Path(__file__).resolve().parents[1]
    if not (here.parents[1] / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no", "--", str(here)) else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    machine = {"python": sys.version.split()[0], "platform": platform.platform()}
    return machine | installed((*PACKAGES, "lightning-fabric"))
