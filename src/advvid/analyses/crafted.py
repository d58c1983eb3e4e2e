"""Adversarial clips made on one model and scored on all, clip by clip, in a file that a kill does not lose."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advvid.analyses.base import Context
from advvid.analyses.scored import Scored
from advvid.attacks.base import Attack, AttackResult
from advvid.batch import Batch, clip_generators, derive_seed
from advvid.errors import AdvvidError
from advvid.evaluator import fingerprint
from advvid.progress import bar

log = logging.getLogger(__name__)


def clean_row(context: Context, targets: Sequence[Scored]) -> list[dict[str, Any]]:
    """Score the clips themselves on every target; see ``crafted_row``."""
    key = _key(context, targets, "clean")

    def score(batch: Batch) -> list[dict[str, Any]]:
        none = torch.zeros(len(batch), dtype=torch.int64, device=batch.inputs.device)
        return _lines(context, batch, AttackResult(batch.inputs, none, none), none.float(), targets)

    return _walk(context, key, "no attack", score)


def crafted_row(
    context: Context, attack: Attack, surrogate: nn.Module, name: str, key: str, targets: Sequence[Scored]
) -> list[dict[str, Any]]:
    """Make every clip's adversarial form once, on the surrogate, and score it on every target.

    Each clip is held against the attack's threat before it counts, and predicted in fp32. Random numbers depend on
    (seed, the attack's column, clip id) alone: the same ones on every surrogate, and the ones of the run's table. What
    was done before in this run folder is read from there.

    Args:
        context: gives the clips.
        attack: what to search with.
        surrogate: the model to search on.
        name: of the surrogate, for messages.
        key: hash of the surrogate.
        targets: the models to score.

    Returns:
        A line per clip: id, label, ``distance``, ``steps``, ``gradient_calls``, and by each target's key what was
        ``right`` and by which ``margin``.

    Raises:
        AdvvidError: if a clip leaves its threat, or the attack changes the surrogate.
    """
    before = fingerprint(surrogate)

    def score(batch: Batch) -> list[dict[str, Any]]:
        generators = clip_generators(context.seed, context.attack_name, batch.ids)
        result = attack.run(surrogate, batch.inputs, batch.target, generators, task=context.task)
        distance = checked(attack, result, batch, f"clips made on {name}")
        return _lines(context, batch, result, distance, targets)

    settings = (type(attack).__name__, attack, context.attack_name, context.seed)
    lines = _walk(context, _key(context, targets, key, *settings), f"made on {name}", score)
    if fingerprint(surrogate) != before:
        raise AdvvidError(
            f"the attack changed the weights or buffers of {name}: its numbers are void; report the attack"
        )
    return lines


def checked(attack: Attack, result: AttackResult, batch: Batch, what: str) -> Tensor:
    """Return each clip's distance, ``[B]``, after making sure that all are inside the attack's threat.

    Raises:
        AdvvidError: naming the first clip that is not, with its figures.
    """
    threat = attack.threat
    distance = threat.distance(result.x_adv, batch.inputs)
    allowed = threat.contains(result.x_adv, batch.inputs, result.aux)
    if not bool(allowed.all()):
        index = int((~allowed).nonzero()[0])
        low, high = float(result.x_adv[index].min()), float(result.x_adv[index].max())
        raise AdvvidError(
            f"{what} left the threat model on clip {batch.ids[index]}: allowed is {threat.budget}, measured is a distance "
            f"of {float(distance[index]):.6g} with values from {low:.6g} to {high:.6g} ({int((~allowed).sum())} of "
            f"{len(batch)} clips of the batch); the numbers are void"
        )
    return distance


def _lines(
    context: Context, batch: Batch, result: AttackResult, distance: Tensor, targets: Sequence[Scored]
) -> list[dict[str, Any]]:
    right: dict[str, list[bool]] = {}
    margin: dict[str, list[float]] = {}
    for target in targets:
        with torch.no_grad(), torch.autocast(context.device.type, enabled=False):
            out = target.model(result.x_adv.float()).float()
        correct, lead = context.task.correct(out, batch.target), context.task.margin(out, batch.target)
        if correct is None or lead is None:
            raise AdvvidError(f"analysis={context.name} needs a task with right answers: choose a classifier's run")
        right[target.key], margin[target.key] = correct.tolist(), lead.tolist()
    rows = zip(
        batch.ids, batch.target.tolist(), distance.tolist(), result.steps.tolist(), result.gradient_calls.tolist(), strict=True
    )  # fmt: skip
    return [
        {
            "id": clip, "label": label, "distance": far, "steps": steps, "gradient_calls": calls,
            "right": {key: values[i] for key, values in right.items()},
            "margin": {key: values[i] for key, values in margin.items()},
        }
        for i, (clip, label, far, steps, calls) in enumerate(rows)
    ]  # fmt: skip


def _key(context: Context, targets: Sequence[Scored], *parts: object) -> str:
    return f"{derive_seed(sorted(target.key for target in targets), list(context.split.ids), *parts):016x}"


def _walk(context: Context, key: str, name: str, score: Any) -> list[dict[str, Any]]:
    """Go through the clips that the row's file does not hold yet, and return all lines."""
    file = context.folder / f"{context.name}.cells" / f"{key}.jsonl"
    ids, size = list(context.split.ids), context.batch_size
    done = _resume(file, len(ids), size)
    with bar(name, len(ids), done) as progress:
        for batch in context.batches(done // size) if done < len(ids) else ():
            with file.open("a") as out:
                out.write("".join(json.dumps(line) + "\n" for line in score(batch)))
            progress.advance(len(batch))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    if [line["id"] for line in lines] != ids:
        raise AdvvidError(f"{file} does not hold every clip exactly once: remove it and run the analysis again")
    return lines


def _resume(file: Path, total: int, size: int) -> int:
    """Return how many clips a file holds, after cutting off what a kill left of an unfinished batch."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = file.read_bytes() if file.is_file() else b""
    whole = content.splitlines(keepends=True)
    done = sum(line.endswith(b"\n") for line in whole)
    done = total if done >= total else done // size * size
    if not file.is_file() or done < len(whole):
        scratch = file.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_bytes(b"".join(whole[:done]))
        scratch.replace(file)
    if done:
        log.info("%s: resuming at clip %d of %d", file.name, done + 1, total)
    return done
