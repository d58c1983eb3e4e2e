"""Score a model under every column of a suite, clip by clip, checking what each attack claims."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advvid.attacks.base import AttackResult
from advvid.core import digests
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite
from advvid.core.identity import versions
from advvid.core.later import Pending, later
from advvid.core.profiling import LOGGING, scope
from advvid.core.progress import Bar, bar
from advvid.data.content import Contents
from advvid.distributed.micro_batches import in_parts
from advvid.distributed.parallel import Processes
from advvid.evaluation.behaviour import Steady, require_answers, require_evaluation_mode, require_task
from advvid.evaluation.cells import SAMPLES, Cells, outputs_of, write_samples
from advvid.evaluation.columns import Column, craft, fingerprint
from advvid.evaluation.postprocess import Postprocessing
from advvid.evaluation.visibility import visibility
from advvid.tasks.base import Task

# A batch, its adversarial clips and the model's outputs on the clean and on the adversarial ones, for pictures.
Show = Callable[[Column, Batch, Tensor, Tensor, Tensor], None]
CLEAN = "clean"
Arrays = dict[str, Tensor | NDArray[Any]]


@dataclass(kw_only=True)
class Evaluator:
    """Walks the split once, batch outer and attack inner, one batch in memory.

    Each adversarial clip is predicted again in fp32 evaluation mode, and its distance and range are measured again:
    one outside its threat stops the run. What is computed is kept batch by batch and column by column, so that a killed
    or extended evaluation computes only what is missing. Several processes share the batches.

    Args:
        model: maps clips to the task's output.
        task: what a right answer is.
        columns: what to score.
        seed: of the attacks' random numbers, which depend on (seed, column, clip id) alone.
        device: where to compute.
        run_dir: where ``samples.jsonl`` and ``cells/`` go.
        show: called with each column's first batch, for pictures.
        postprocess: what the same adversarial clips are scored again after.
        processes: that share the batches; they see one file system.
        micro: clips attacked at once, where memory does not take a batch; fewer where it runs out.
        search: the context that attacks run in, such as autocast; verdicts are fp32 in any case.
        settings: what else the numbers rest on, as plain values, such as precision and purifiers.
    """

    model: nn.Module
    task: Task
    columns: Sequence[Column]
    seed: int
    device: torch.device
    run_dir: Path
    show: Show | None = None
    postprocess: Sequence[Postprocessing] = ()
    processes: Processes = field(default_factory=Processes)
    micro: int = sys.maxsize
    search: Callable[[], AbstractContextManager[Any]] = nullcontext
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = self.model.to(self.device).eval()
        self.steady: Steady | None = None
        for seen in (column.seen for column in self.columns if column.seen is not None):
            seen.to(self.device).eval()

    def run(
        self, batches: Callable[[Sequence[int]], Iterable[Batch]], clips: Contents, batch_size: int
    ) -> list[dict[str, Any]]:
        """Score every clip once and return the lines of ``samples.jsonl``.

        Args:
            batches: gives the batches of the split with these numbers, in this order.
            clips: names and digests of all clips, in order.
            batch_size: clips per batch; a resumed evaluation uses the same batches.

        Raises:
            AdvvidError: if an adversarial clip breaks its budget or range, or the attack changed the model.
        """
        for model in (self.model, *(column.seen for column in self.columns if column.seen is not None)):
            require_evaluation_mode(model)
        weights, ids = fingerprint(self.model), clips.ids
        self.keys, self.clips = self._keys(), clips
        self.cells = Cells(self.run_dir, self.keys, clips.batches(batch_size))
        mine = range(self.processes.rank, len(self.cells.batches), self.processes.world_size)
        missing = {number: self.cells.missing(number) for number in mine}
        todo = [number for number in mine if missing[number]]
        total = sum(len(ids[n * batch_size : (n + 1) * batch_size]) for n in mine)
        left = sum(len(ids[n * batch_size : (n + 1) * batch_size]) for n in todo)
        with bar("evaluation", total, total - left) as progress:
            for number, batch in zip(todo, batches(todo), strict=True):
                share = len(batch) / (1 + len(missing[number]))
                self._batch(number, batch.to(self.device), missing[number], _steps(progress, share))
                progress.advance(len(batch))
        if self.steady is not None:
            self.steady.ask_again(self.task)
        if fingerprint(self.model) != weights:
            raise AdvvidError(
                "an attack changed the model's weights or buffers during evaluation; results discarded: "
                "this is a bug in the attack, please report it"
            )
        self.processes.barrier()
        samples = self._samples()
        if [line["id"] for line in samples] != list(ids):
            raise AdvvidError(
                f"{self.cells.folders[CLEAN].parent} does not hold every clip exactly once: remove it and evaluate again"
            )
        if self.processes.main:
            write_samples(self.run_dir / SAMPLES, samples)
        return samples

    def outputs(self, name: str) -> Tensor:
        """Return the model's outputs of a column (or ``clean``) over the whole split."""
        return outputs_of(self.cells.column(name))

    def _keys(self) -> dict[str, str]:
        """Return a digest of what each column rests on besides the clips: the model, the attack, and what follows it."""
        self.weights = digests.of_module(self.model)
        task = (type(self.task).__qualname__, repr(self.task))
        common = (self.weights, task, [repr(step) for step in self.postprocess], self.settings, versions())
        keys = {CLEAN: digests.of_values(CLEAN, *common)}
        return keys | {c.name: digests.of_values(c.rests_on, self.seed, *common) for c in self.columns}

    def _batch(self, number: int, batch: Batch, missing: Sequence[str], describe: Callable[[str], None]) -> None:
        """Compute the missing cells of a batch; on a GPU all of a cell comes to the host in one copy, its checks with it."""
        with later(self.device.type == "cuda") as checks:
            self._compute(number, batch, missing, describe, checks)

    def _compute(
        self, number: int, batch: Batch, missing: Sequence[str], describe: Callable[[str], None], checks: Pending
    ) -> None:
        describe(CLEAN)
        clean = self._predict(batch.inputs)
        require_answers(clean, batch, self.task)
        if self.steady is None:
            require_task(self.task, clean, batch)
            self.steady = Steady(self._predict, batch.inputs, clean, batch.ids)
        right = self.task.correct(clean, batch.target)
        known = {"out": clean, "pred": self.task.predict(clean), "target": batch.target}
        host = checks.read(known if right is None else known | {"right": right})
        # Clips that are wrong already count as wrong under every attack: there is nothing to search for.
        rows = torch.arange(len(batch)) if right is None else host["right"].nonzero().squeeze(1)
        todo = rows.to(self.device, non_blocking=True)
        if CLEAN in missing:
            labels = [json.dumps(label) for label in self.task.label(host["target"])]
            arrays: Arrays = {"id": np.array(batch.ids), "label": np.array(labels), "out": host["out"]}
            after = checks.read(self._after(batch.inputs, batch, clean, todo)) if self.postprocess else {}
            self.cells.write(CLEAN, number, {**arrays, "pred": host["pred"], **after})
        for column in self.columns:
            if column.name not in missing:
                continue
            describe(column.name)
            began = time.perf_counter()
            x_adv, steps, calls, distance = self._attack(column, batch, rows)
            seconds = (time.perf_counter() - began) / len(batch)
            out = clean.clone()
            if len(todo):
                out[todo] = self._predict(x_adv[todo])
            require_finite(out, batch.ids, f"those of column {column.name}")
            cell = {
                "pred": self.task.predict(out),
                "out": out,
                "distance": distance,
                "steps": steps,
                "gradient_calls": calls,
                **visibility(x_adv, batch.inputs),
                **self._after(x_adv, batch, clean, todo),
            }
            host = checks.read(cell)
            if self.device.type == "cuda":  # a search there is over when its result is here
                seconds = (time.perf_counter() - began) / len(batch)
            arrays = {**host, "seconds": np.full(len(batch), round(seconds, 4))}
            # The picture goes first: a cell that is there is not computed again.
            if number == 0 and self.show is not None:
                with scope(LOGGING):
                    self.show(column, batch, x_adv, clean, out)
            self.cells.write(column.name, number, arrays)

    def _after(self, x_adv: Tensor, batch: Batch, clean: Tensor, todo: Tensor) -> dict[str, Tensor]:
        """Return predictions and outputs after each postprocessing of the clips."""
        arrays: dict[str, Tensor] = {}
        for step in self.postprocess:
            out = clean.clone()
            if len(todo):
                out[todo] = self._predict(step(x_adv[todo]))
            require_finite(out, batch.ids, f"those after {step.name}")
            arrays |= {f"pred@{step.name}": self.task.predict(out), f"out@{step.name}": out}
        return arrays

    def _attack(self, column: Column, batch: Batch, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Attack the clips ``rows``, named on the host, and return clips, steps, gradient calls and distances of the batch."""
        x_adv = batch.inputs.clone()
        steps = torch.zeros(len(batch), dtype=torch.int64, device=self.device)
        calls, distance = steps.clone(), torch.zeros(len(batch), device=self.device)

        def search(places: Tensor) -> None:
            chosen = rows[places]
            index = chosen.to(self.device, non_blocking=True)
            result, far = self._craft(column, batch, index, [batch.ids[i] for i in chosen.tolist()])
            x_adv[index], steps[index], calls[index], distance[index] = (
                result.x_adv,
                result.steps,
                result.gradient_calls,
                far,
            )

        _, self.micro = in_parts(search, self.micro, len(rows), f"the attack of {column.name}")
        return x_adv, steps, calls, distance

    def _craft(self, column: Column, batch: Batch, index: Tensor, ids: Sequence[str]) -> tuple[AttackResult, Tensor]:
        """Search, in low precision where asked for; what only rounding made look fooled is searched again in fp32."""
        clips, labels = batch.inputs[index], batch.target[index]
        with self.search():
            result, far = craft(column, self.model, clips, labels, ids, self.seed, self.task)
            if not torch.is_autocast_enabled(self.device.type):
                return result, far
            with torch.no_grad():
                claimed = self.task.correct(self.model(result.x_adv), labels)
        right = self.task.correct(self._predict(result.x_adv), labels)
        if claimed is None or right is None or not bool((right & ~claimed).any()):
            return result, far
        again = (right & ~claimed).nonzero().squeeze(1)
        own = [ids[i] for i in again.tolist()]
        second, second_far = craft(column, self.model, clips[again], labels[again], own, self.seed, self.task)
        bare = replace(result, aux={})  # choices made in low precision need not fit those made in fp32
        both = bare.select(again).merge(second, torch.ones_like(again, dtype=torch.bool))
        return bare.put(again, both), far.index_copy(0, again, second_far)

    def _predict(self, clips: Tensor) -> Tensor:
        def answer(places: Tensor) -> Tensor:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                return self.model(clips[places.to(clips.device, non_blocking=True)].float()).float()

        if not len(clips):
            return answer(torch.arange(0))
        outs, self.micro = in_parts(answer, self.micro, len(clips), "scoring")
        return torch.cat(outs)

    def _samples(self) -> list[dict[str, Any]]:
        """Return a line per clip from all cells."""
        clean = self.cells.column(CLEAN)
        lines: list[dict[str, Any]] = [
            {"id": clip, "label": json.loads(label), "clean": answer, "attacks": {}}
            for clip, label, answer in zip(*(clean[k].tolist() for k in ("id", "label", "pred")), strict=True)
        ]
        after = [f"@{step.name}" for step in self.postprocess]
        for suffix in after:
            none = np.zeros(len(lines), dtype=np.int64)
            _add(
                lines,
                f"{CLEAN}{suffix}",
                {"pred": clean[f"pred{suffix}"], "distance": none.astype(float), "steps": none},
            )
        for column in self.columns:
            cell = self.cells.column(column.name)
            _add(lines, column.name, {k: v for k, v in cell.items() if k != "out" and "@" not in k})
            for suffix in after:
                kept = {key: cell[key] for key in ("distance", "steps")}
                _add(lines, f"{column.name}{suffix}", {"pred": cell[f"pred{suffix}"], **kept})
        return lines


def _steps(progress: Bar, share: float) -> Callable[[str], None]:
    """Return what is told of each part of a batch when it begins: it moves the bar on by a part's share."""
    begun = itertools.count()
    return lambda name: progress.describe(name, within=share * next(begun))


def _add(lines: list[dict[str, Any]], name: str, values: dict[str, Any]) -> None:
    rows = zip(*(array.tolist() for array in values.values()), strict=True)
    for line, row in zip(lines, rows, strict=True):
        line["attacks"][name] = dict(zip(values, row, strict=True))
