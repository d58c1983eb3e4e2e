"""Where the time goes: a profiler trace and a page that sums it up."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from advvid.core import files
from advvid.core.batch import Batch

log = logging.getLogger(__name__)

# Names of the parts, in the order of the page. Those of the attack lie inside a step.
DATA, FORWARD, BACKWARD, STEP, LOGGING = "data wait", "attack forward", "attack backward", "step", "logging"


def scope(name: str) -> record_function:
    """Return a context that counts what runs in it as ``name``; next to nothing where nobody profiles."""
    return record_function(name)


@dataclass
class Profile:
    """Profiles a few batches of a loop and writes what it saw.

    Args:
        folder: receives ``<name>_trace.json`` (for chrome://tracing or Perfetto) and ``<name>.md``.
        name: of the loop.
        active: whether to profile at all.
        skip: batches left out at the start, in which caches fill.
        record: batches that are profiled.
    """

    folder: Path
    name: str
    active: bool = False
    skip: int = 2
    record: int = 5

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, the time in which each is waited for counted as such."""
        if not self.active:
            yield from batches
            return
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        plan = schedule(wait=max(0, self.skip - 1), warmup=min(1, self.skip), active=self.record, repeat=1)
        with profile(activities=kinds, schedule=plan, on_trace_ready=self._write, acc_events=True) as profiler:
            waiting = iter(batches)
            while True:
                with scope(DATA):
                    batch = next(waiting, None)
                if batch is None:
                    break
                with scope(STEP):
                    yield batch
                profiler.step()
        self.active = False  # one epoch tells enough

    def _write(self, profiler: Any) -> None:
        files.make_folder(self.folder)
        trace = self.folder / f"{self.name}_trace.json"
        scratch = files.scratch_beside(trace)
        profiler.export_chrome_trace(str(scratch))
        scratch.replace(trace)
        page = self.folder / f"{self.name}.md"
        files.write_text(page, breakdown(profiler.key_averages(), self.name))
        log.info("profile of %s: %s and %s", self.name, page, trace)


def breakdown(events: Iterable[Any], name: str) -> str:
    """Return the page: seconds and share of each part, and the ten dearest operations.

    Args:
        events: of ``torch.profiler``'s ``key_averages()``.
        name: of the loop.
    """
    found = {event.key: event for event in events}
    spent = {
        part: found[part].cpu_time_total / 1e6 if part in found else 0.0
        for part in (DATA, FORWARD, BACKWARD, STEP, LOGGING)
    }
    attack = spent[FORWARD] + spent[BACKWARD]
    total = (spent[DATA] + spent[STEP]) or 1.0
    rest = spent[STEP] - attack - spent[LOGGING]
    rows = {DATA: spent[DATA], FORWARD: spent[FORWARD], BACKWARD: spent[BACKWARD]}
    rows |= {"the rest of the step (training, projections, scoring)": rest, LOGGING: spent[LOGGING]}
    lines = [f"| {part} | {seconds:.3f} | {100 * seconds / total:.1f} |" for part, seconds in rows.items()]
    parts = set(spent)
    dearest = sorted(
        (e for e in found.values() if e.key not in parts and not e.key.startswith("ProfilerStep")),
        key=_own,
        reverse=True,
    )
    shown = [f"| {e.key} | {e.count} | {_own(e) / 1e6:.3f} |" for e in dearest[:10]]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    peak = f", peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if torch.cuda.is_available() else ""
    count = found[STEP].count if STEP in found else 0
    head = f"# Where the time of {name} goes\n\n{count} batches, {total:.2f} s as the processor sees them, on {where} "
    head += f"({platform.machine()}, torch {torch.__version__}){peak}.\n\n"
    parts_table = "\n".join(["| part | seconds | percent |", "| --- | ---: | ---: |", *lines])
    operations = "\n".join(["| operation | calls | own seconds |", "| --- | ---: | ---: |", *shown])
    return f"{head}{parts_table}\n\n{operations}\n"


def _own(event: Any) -> float:
    """Return an operation's own time, on the GPU where there is one."""
    return float(getattr(event, "self_device_time_total", 0.0) or event.self_cpu_time_total)
