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

from advvid.core import files
from advvid.core.identity import PACKAGES, Identity
from advvid.core.installed import installed
from advvid.evaluation.check_rules import Check
from advvid.evaluation.checks import table_checks
from advvid.evaluation.evaluator import CLEAN, Evaluator
from advvid.evaluation.table import robustness_table
from advvid.evaluation.tally import has_verdicts, summarise, verdicts
from advvid.evaluation.visibility import column_measures
from advvid.evaluation.worth import above_chance, column_worth, require_agreement
from advvid.tasks.base import Task
from advvid.tracking.trackers import Tracker

SCHEMA = 1
# A verdict nearer to tipping over than this may differ between batch sizes or machines.
NEAR_TIE = 1e-4


def assemble(
    samples: Sequence[Mapping[str, Any]], evaluator: Evaluator, task: Task, targets: Any, missing: Sequence[str],
    checks: Sequence[Check], config: Mapping[str, Any], seed: int, types: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the content of ``robustness.json``.

    Args:
        samples: the lines of ``samples.jsonl``.
        evaluator: which knows the columns and still holds the model's outputs.
        task: for its further measures.
        targets: labels of the split, in the order of ``samples``.
        missing: ids of clips that could not be read.
        checks: what was found on the model itself; the checks on the columns are added.
        config: of the run.
        seed: of the run.
        types: columns whose mean is the accuracy of a type of attack.
    """
    columns = evaluator.columns
    sections = {c.name: "controls" if c.attack.control else "extra" if "@" in c.name else "attacks" for c in columns}
    after = [f"{name}@{road.name}" for name in (CLEAN, *sections) for road in evaluator.survive]
    attacks, controls, extra = (
        [n for n, s in sections.items() if s == kind] for kind in ("attacks", "controls", "extra")
    )
    table = {"schema": SCHEMA, **summarise(samples, attacks, controls, [*extra, *after], types or {})}
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
            "budget": column.attack.threat.budget,
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
        table["extra"][name]["after"] = next(repr(r) for r in evaluator.survive if name.endswith(f"@{r.name}"))
    found = [*checks]
    if right:
        losses = {n: task.loss(evaluator.outputs(n), targets).numpy() for n in (CLEAN, *sections)}
        found += table_checks(columns, right, clean.shape[1], losses)
        found.append(above_chance(right[CLEAN], [sample["label"] for sample in samples]))
        found += column_worth(columns, right, samples, losses)
        _require_agreement(evaluator, task, targets, right)
    return table | {
        "missing": list(missing), "checks": [dataclasses.asdict(check) for check in found],
        "identity": identity(config, evaluator), "config": dict(config), "seed": seed, "commit": commit(), "versions": versions(),
    }  # fmt: skip


def identity(config: Mapping[str, Any], evaluator: Evaluator) -> dict[str, Any]:
    """Return what the table rests on: a digest of each part of the configuration, of the clips, the model and each column.

    Rows of two runs are comparable clip by clip where ``clips`` is the same.
    """
    return {
        "parts": Identity.of(config).part_digests(), "clips": evaluator.clips.digest, "model": evaluator.weights,
        "columns": evaluator.keys,
    }  # fmt: skip


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


def write(run_dir: Path, table: Mapping[str, Any], tracker: Tracker, pictures: Mapping[str, Path]) -> None:
    """Write the table in all its forms and show it.

    Args:
        run_dir: where ``robustness.json`` and ``robustness.md`` go.
        table: see ``assemble``.
        tracker: receives the table, the accuracies and the pictures.
        pictures: contact sheets by column.
    """
    files.write_json(run_dir / "robustness.json", table)
    label = table["config"]["choices"].get("defense", "run")
    layout = robustness_table([(label, table)], title=f"Robustness of {table['config'].get('name', 'the run')}")
    files.write_text(run_dir / "robustness.md", layout.markdown())
    Console().print(layout)
    scores = {"clean": table["clean"], **table["attacks"], **table["controls"]}
    scores |= {name: table[name] for name in ("mean", "union") if name in table}
    rows = [[name, *_in_percent(score), table["n"]] for name, score in scores.items() if "acc" in score]
    if rows:  # a task may have no verdicts
        tracker.table("robustness", ["column", "accuracy (%)", "low", "high", "clips"], rows)
    tracker.summary({f"acc/{name}": score["acc"] for name, score in scores.items() if "acc" in score})
    for name, path in pictures.items():
        tracker.image(name, path)
    tracker.artifact("robustness", [run_dir / "robustness.json", run_dir / "samples.jsonl"])


def _in_percent(score: Mapping[str, Any]) -> list[float]:
    """Return an accuracy and the ends of its interval, in percent."""
    return [round(100 * value, 2) for value in (score["acc"], *score["ci95"])]


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
