"""Score a model under every column of a suite, clip by clip, checking what each attack claims."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.batch import Batch, clip_generators, derive_seed
from advvid.errors import AdvvidError
from advvid.progress import bar
from advvid.tasks.base import Task

log = logging.getLogger(__name__)

# A batch's clips, their adversarial versions, true and predicted answers, for pictures.
Show = Callable[["Column", Batch, Tensor, Tensor, Tensor], None]


@dataclass(frozen=True)
class Column:
    """A column of the table: an attack under a name, with the access that it has to the system."""

    name: str
    attack: Attack
    access: str = "white_box"

    @property
    def settings(self) -> dict[str, Any]:
        """The attack's class and settings, as plain values."""
        return {"class": type(self.attack).__name__, **dataclasses.asdict(self.attack)}


class Evaluator:
    """Walks the split once, batch outer and attack inner, one batch in memory.

    Each adversarial clip is predicted again in fp32 evaluation mode, and its distance and range are measured again:
    one outside its threat stops the run. Lines of ``samples.jsonl`` are written batch by batch, so that a killed
    evaluation continues where it was.

    Args:
        model: maps clips to the task's output.
        task: what a right answer is.
        columns: what to score.
        seed: of the attacks' random numbers, which depend on (seed, column, clip id) alone.
        device: where to compute.
        run_dir: where ``samples.jsonl`` and ``logits/`` go.
        show: called with each column's first batch, for pictures.
    """

    def __init__(
        self, model: nn.Module, task: Task, columns: Sequence[Column], seed: int, device: torch.device, run_dir: Path,
        show: Show | None = None,
    ) -> None:  # fmt: skip
        self.model, self.task, self.columns, self.seed = model.to(device).eval(), task, columns, seed
        self.device, self.run_dir, self.show = device, run_dir, show
        self.state = _State(run_dir, ["clean", *(column.name for column in columns)])

    def run(
        self, batches: Callable[[int], Iterable[Batch]], ids: Sequence[str], batch_size: int
    ) -> list[dict[str, Any]]:
        """Score every clip once and return the lines of ``samples.jsonl``.

        Args:
            batches: gives the batches of the split from a batch number on.
            ids: of all clips, in order.
            batch_size: clips per batch; a resumed evaluation uses the same batches.

        Raises:
            AdvvidError: if an adversarial clip breaks its budget or range, or the attack changed the model.
        """
        weights = fingerprint(self.model)
        settings = [(c.name, c.access, c.settings) for c in self.columns]
        done = self.state.open(derive_seed(weights, settings, self.seed, list(ids), batch_size), batch_size, len(ids))
        with bar("evaluation", len(ids), done) as progress:
            for batch in batches(done // batch_size):
                lines, outs = self._batch(batch.to(self.device), progress.describe, first=done == 0)
                self.state.write(lines, outs)
                done += len(batch)
                progress.advance(len(batch))
        if fingerprint(self.model) != weights:
            raise AdvvidError(
                "an attack changed the model's weights or buffers during evaluation: its numbers are void; report the attack"
            )
        samples = self.state.samples()
        if [line["id"] for line in samples] != list(ids):
            raise AdvvidError(
                f"{self.state.samples_file} does not hold every clip exactly once: remove it and evaluate again"
            )
        return samples

    def _batch(
        self, batch: Batch, describe: Callable[[str], None], first: bool
    ) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        describe("clean")
        outs = {"clean": self._predict(batch.inputs)}
        right = self.task.correct(outs["clean"], batch.target)
        predictions = self.task.predict(outs["clean"]).tolist()
        lines: list[dict[str, Any]] = [
            {"id": clip, "label": label, "clean": prediction, "attacks": {}}
            for clip, label, prediction in zip(batch.ids, batch.target.tolist(), predictions, strict=True)
        ]
        # Clips that are wrong already count as wrong under every attack: there is nothing to search for.
        todo = torch.arange(len(batch), device=self.device) if right is None else right.nonzero().squeeze(1)
        for column in self.columns:
            describe(column.name)
            began = time.perf_counter()
            x_adv, steps, calls, distance = self._attack(column, batch, todo)
            seconds = (time.perf_counter() - began) / len(batch)
            out = outs["clean"].clone()
            if len(todo):
                out[todo] = self._predict(x_adv[todo])
            outs[column.name] = out
            prediction = self.task.predict(out)
            rows = zip(lines, prediction.tolist(), distance.tolist(), steps.tolist(), calls.tolist(), strict=True)
            for line, answer, far, step, call in rows:
                line["attacks"][column.name] = {
                    "pred": answer, "distance": far, "steps": step, "gradient_calls": call, "seconds": round(seconds, 4)
                }  # fmt: skip
            if first and self.show is not None:
                self.show(column, batch, x_adv, self.task.predict(outs["clean"]), prediction)
        return lines, outs

    def _attack(self, column: Column, batch: Batch, todo: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Attack the clips ``todo``, check them, and return clips, steps, gradient calls and distances of the batch."""
        x_adv = batch.inputs.clone()
        steps = torch.zeros(len(batch), dtype=torch.int64, device=self.device)
        calls, distance = steps.clone(), torch.zeros(len(batch), device=self.device)
        if not len(todo):
            return x_adv, steps, calls, distance
        clips, ids = batch.inputs[todo], [batch.ids[i] for i in todo.tolist()]
        generators = clip_generators(self.seed, column.name, ids)
        result = column.attack.run(self.model, clips, batch.target[todo], generators, task=self.task)
        threat = column.attack.threat
        far = threat.distance(result.x_adv, clips)
        allowed = threat.contains(result.x_adv, clips, result.aux)
        if not bool(allowed.all()):
            index = int((~allowed).nonzero()[0])
            low, high = float(result.x_adv[index].min()), float(result.x_adv[index].max())
            raise AdvvidError(
                f"the attack of column {column.name} left its threat model on clip {ids[index]}: allowed is "
                f"{threat.budget}, measured is a distance of {float(far[index]):.6g} with values from {low:.6g} to "
                f"{high:.6g} ({int((~allowed).sum())} of {len(ids)} clips of the batch); its numbers are void"
            )
        x_adv[todo], steps[todo], calls[todo], distance[todo] = result.x_adv, result.steps, result.gradient_calls, far
        return x_adv, steps, calls, distance

    def _predict(self, clips: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.model(clips.float()).float()

    def outputs(self, name: str) -> Tensor:
        """Return the model's outputs of a column (or ``clean``) over the whole split."""
        return self.state.outputs(name)


class _State:
    """The files of an evaluation under way: lines per clip, and the model's raw outputs per column."""

    def __init__(self, run_dir: Path, names: Sequence[str]) -> None:
        self.samples_file, self.header_file = run_dir / "samples.jsonl", run_dir / "logits" / "header.json"
        self.names, self.shape = names, [0]

    def open(self, key: int, batch_size: int, total: int) -> int:
        """Prepare the files and return how many clips are done: whole batches of the same evaluation only."""
        self.header_file.parent.mkdir(parents=True, exist_ok=True)
        header = json.loads(self.header_file.read_text()) if self.header_file.is_file() else {}
        done = 0
        if header.get("key") == key and self.samples_file.is_file():
            counts = [self._complete_lines()]
            self.shape = header["shape"]
            row = 4 * int(np.prod(self.shape))
            counts += [self._outs(n).stat().st_size // row if self._outs(n).is_file() else 0 for n in self.names]
            done = min(min(counts), total)
            done = done if done == total else done // batch_size * batch_size
        if done:
            kept = self.samples_file.read_text().splitlines(keepends=True)[:done]
            self.samples_file.write_text("".join(kept))
            for name in self.names:
                os.truncate(self._outs(name), done * row)
            log.info("resuming the evaluation at clip %d of %d", done + 1, total)
        else:
            self.samples_file.write_text("")
            for name in self.names:
                self._outs(name).write_bytes(b"")
            self.header_file.unlink(missing_ok=True)
        self.key = key
        return done

    def write(self, lines: list[dict[str, Any]], outs: dict[str, Tensor]) -> None:
        """Append a batch."""
        if not self.header_file.is_file():
            self.shape = list(outs["clean"].shape[1:])
            self.header_file.write_text(json.dumps({"key": self.key, "shape": self.shape, "columns": self.names}))
        for name, out in outs.items():
            with self._outs(name).open("ab") as file:
                file.write(out.cpu().numpy().astype("<f4").tobytes())
        with self.samples_file.open("a") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))

    def samples(self) -> list[dict[str, Any]]:
        """Return all lines."""
        return [json.loads(line) for line in self.samples_file.read_text().splitlines()]

    def outputs(self, name: str) -> Tensor:
        """Return a column's outputs, ``[n, ...]``."""
        return torch.from_numpy(np.fromfile(self._outs(name), dtype="<f4").reshape(-1, *self.shape))

    def _outs(self, name: str) -> Path:
        return self.header_file.parent / f"{name.replace('/', '_')}.f32"

    def _complete_lines(self) -> int:
        # A line without its newline was cut short by a kill.
        return self.samples_file.read_bytes().count(b"\n")


def fingerprint(model: nn.Module) -> str:
    """Hash every weight and buffer of a model, in a fixed order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
