"""The command line in a folder of its own, in a process that has everything imported already.

One server per process of tests imports advvid and computes nothing; each command is a fork of it. A fork of the tests' own
process could hang: PyTorch has threads once it has computed, and cannot follow a gradient in a fork where there is a GPU.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATIENCE = 300.0
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["advvid.experiment.run", "advvid.train"])


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (None: it hung), all that it said, and its seconds."""

    status: int | None
    said: str
    seconds: float


def run(arguments: Sequence[str], folder: Path, entry: str = "advvid.train") -> Ended:
    """Carry out ``python -m <entry> <arguments>`` in a folder, and return how it ended with all that it said."""
    log = folder.parent / f"{folder.name}.said"
    _ready()
    began = time.monotonic()
    process = _context.Process(target=_there, args=(list(arguments), folder, entry, log, dict(os.environ)))
    process.start()
    process.join(PATIENCE)
    status = process.exitcode
    if status is None:
        process.kill()
    return Ended(status, log.read_text(errors="replace"), time.monotonic() - began)


@cache
def _ready() -> None:
    """Wait until the server has everything imported."""
    process = _context.Process(target=int)
    process.start()
    process.join()


def _there(arguments: list[str], folder: Path, entry: str, log: Path, environment: dict[str, str]) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["advvid", *arguments]
    sys.exit(importlib.import_module(entry).main())
