"""Carries out trainings and evaluations, each once, in folders named after their settings."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from advvid.core.errors import AdvvidError
from advvid.core.files import write_json, write_text
from advvid.core.processes import for_parent
from advvid.studies.keys import program_key, scoring_key, training_key
from advvid.studies.plan import DEMO, FULL, RUN, TRAIN, Study, Work
from advvid.studies.weights import begins_anew, network

log = logging.getLogger(__name__)

DONE = "done.json"
_composing = threading.Lock()  # Hydra composes one configuration at a time
_starting = threading.Lock()  # nothing starts while everything is being stopped
_running: set[subprocess.Popen[bytes]] = set()
_ending: list[bool] = []


class WorkError(AdvvidError):
    """A training or an evaluation that ended without a result."""


# What ends a cell or a table and leaves the others alone.
TROUBLE = (AdvvidError, OSError, ValueError, LookupError)


class Runner:
    """The finished and unfinished work of one scale.

    Args:
        root: where everything is kept, such as ``outputs/papers``.
        scale: ``full`` or ``demo``.
        given: further overrides of every run, such as ``dataset.root=...``, by the data set that they are for; ``""``: all.
        threads: of each process; None: as many as there are cores.
        weights: at full scale, the file that trainings of a network start from, by its option of ``model``.

    Example:
        >>> runner = Runner(Path("outputs/papers"), "demo")         # doctest: +SKIP
        >>> runner.scored(studies()["kinfu"], "cat", "pgd")              # doctest: +SKIP
        PosixPath('outputs/papers/demo/kinfu-cat-1b2c.../scores/pgd-3d4e...')
    """

    def __init__(
        self,
        root: Path,
        scale: str,
        given: Mapping[str, Sequence[str]] | None = None,
        threads: int | None = None,
        weights: Mapping[str, str] | None = None,
    ) -> None:
        self.root, self.scale, self.threads = root / scale, scale, threads
        self.given = {key: list(overrides) for key, overrides in (given or {}).items()}
        self.weights = dict(weights or {})
        self._locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._places: dict[tuple[str, str, str], Path] = {}
        self._failed: dict[Path, str] = {}

    def overrides(self, study: Study, run: str) -> list[str]:
        """Return what a training is told, other trainings in it as their folders."""
        work = study.runs[run]
        told = (*work.overrides[self.scale], *self._weights(work), *self._given(work))
        return [self._resolved(study, override) for override in told]

    def folder(self, study: Study, run: str, score: str = "") -> Path:
        """Return where a training, or an evaluation of it, is kept, whether it is there or not."""
        place = (study.name, run, score)
        if place not in self._places:
            # Other trainings stand in a key by their names, which hold keys of their own, so that all can be moved.
            work = study.runs[run]
            told = (*work.overrides[self.scale], *self._weights(work), *self._given(work))
            overrides = [self._resolved(study, override, True) for override in told]
            if score:
                trained = self.folder(study, run)
                scored = study.score_overrides(run, score, self.scale)
                both = [*overrides, *(self._resolved(study, override, True) for override in scored)]
                with _composing:
                    key = scoring_key(trained.name.rpartition("-")[2], both)
                found = trained / "scores" / f"{score}-{key}"
            else:
                with _composing:
                    key = training_key(overrides) if work.program == TRAIN else program_key(work.program, overrides)
                found = self.root / f"{study.name}-{run}-{key}"
            self._places[place] = found
        return self._places[place]

    def trained(self, study: Study, run: str) -> Path:
        """Train, or leave alone what is finished, and return the folder.

        Raises:
            WorkError: with the sentence that the training ended with.
        """
        self._refuse(study, run)
        for name in study.runs[run].needs(self.scale):
            self.trained(study, name)
        folder, program = self.folder(study, run), study.runs[run].program
        told = self.overrides(study, run)
        self._carry_out(folder, ["mode=train", *told] if program == TRAIN else told, program)
        return folder

    def scored(self, study: Study, run: str, score: str) -> Path:
        """Evaluate a training, or leave alone what is finished, and return the evaluation's folder.

        Evaluations of one training share their cells: a column that two tables want is computed once.

        Raises:
            WorkError: with the sentence that the training or the evaluation ended with.
        """
        self._refuse(study, run, score)
        for name in study.needs(run, score, self.scale):
            self.trained(study, name)
        trained, folder = self.trained(study, run), self.folder(study, run, score)
        (folder.parent / "cells").mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        if not (folder / "cells").exists():
            (folder / "cells").symlink_to(Path("..") / "cells")
        given = self._given(study.runs[run])
        scored = [self._resolved(study, override) for override in study.score_overrides(run, score, self.scale)]
        overrides = ["mode=eval", f"checkpoint={trained}", *scored, *given]
        self._carry_out(folder, overrides)
        return folder

    def seconds(self, study: Study, pairs: Iterable[tuple[str, str]]) -> float | None:
        """Return what trainings and their evaluations computed, each counted once; None where one kept no record."""
        pairs = list(pairs)
        folders = {self.folder(study, *pair) for pair in pairs}
        folders |= {self.folder(study, run) for pair in pairs for run in self.trainings(study, *pair)}
        found = [json.loads((folder / DONE).read_text()).get("seconds") for folder in folders]
        return None if None in found else round(sum(found), 1)

    def trainings(self, study: Study, run: str, score: str = "") -> list[str]:
        """Return what has to be trained for a training or an evaluation of it, in order, the training itself included."""
        before = [name for other in study.needs(run, score, self.scale) for name in self.trainings(study, other)]
        return list(dict.fromkeys([*before, run]))

    def _given(self, work: Work) -> list[str]:
        """Return the overrides that the user adds; where data sets lie is of no use to embedded data."""
        told = ("",) if work.program == TRAIN else ()  # of other programs, only where data lie is known
        names = told if self.scale == DEMO else (*work.data, *told)
        return [override for name in names for override in self.given.get(name, [])]

    def _weights(self, work: Work) -> list[str]:
        """Return the override that lets a training start from the file of its network."""
        if not self.weights or self.scale != FULL or not begins_anew(work):
            return []
        path = self.weights.get(network(work))
        return [f"model.checkpoint={path}"] if path else []

    def _resolved(self, study: Study, override: str, named: bool = False) -> str:
        """Put the folders of other trainings, or their names, into a override."""

        def other(found: re.Match[str]) -> str:
            folder = self.folder(study, found[1])
            return folder.name if named else str(folder)

        return RUN.sub(other, override)

    def _refuse(self, study: Study, run: str, score: str = "") -> None:
        for work in [study.runs[run], *([study.scores[score]] if score else [])]:
            lacking = [name for name in work.data if name not in self.given] if self.scale != DEMO else []
            if lacking:
                name = lacking[0]
                raise WorkError(f"needs {name}: say where it is, as in make ... {name.upper()}=<folder>")

    def _carry_out(self, folder: Path, overrides: Sequence[str], program: str = TRAIN) -> None:
        """Run one command line in a folder; a finished one is left alone, a stopped one goes on."""
        with self._locks[folder]:
            note = folder / DONE
            if note.is_file():
                return
            if folder in self._failed:  # once is enough: other cells that need it say the same
                raise WorkError(self._failed[folder])
            folder.mkdir(parents=True, exist_ok=True)
            told = [given.replace("{folder}", str(folder)) for given in overrides]
            command = [sys.executable, "-m", program, *told, *(self._common(folder, told) if program == TRAIN else [])]
            environment = {**os.environ, **({"OMP_NUM_THREADS": str(self.threads)} if self.threads else {})}
            log.info("%s: %s", folder.name, " ".join(overrides))
            before = folder / "seconds.txt"
            spent = float(before.read_text()) if before.is_file() else 0.0
            with (folder / "output.txt").open("w") as output:
                status, seconds = run_command(command, output, environment)
            spent += seconds
            write_text(before, f"{spent:.1f}")
            if status:
                self._failed[folder] = _last_words(folder / "output.txt")
                raise WorkError(self._failed[folder])
            done = {"seconds": round(spent, 1), "overrides": list(overrides), "command": command[1:]}
            write_json(note, done, indent=None)

    def _common(self, folder: Path, overrides: Sequence[str]) -> list[str]:
        """Return what every run is told besides: where it is kept, and what its results do not depend on."""
        common = ["tracker=none", f"hydra.run.dir={folder}"]
        common += ["resume=true"] if "mode=train" in overrides else []
        if not any(given.startswith("evaluation.pictures=") for given in overrides):
            common.append("evaluation.pictures=0")
        common += ["runtime=cpu"] if self.scale == DEMO else []
        return common + ([f"runtime.threads={self.threads}"] if self.threads else [])


def run_command(command: Sequence[str], output: TextIO, environment: Mapping[str, str]) -> tuple[int, float]:
    """Run a command to its end and return its exit status and the seconds that it computed, not those that it waited.

    On a machine that others use as well, only the former say what the work costs. A GPU's work counts by the clock.
    """
    began = time.monotonic()
    told = {**environment, **for_parent()}  # a killed one leaves no run behind that goes on by itself
    with _starting:
        if _ending:
            raise WorkError("not begun, since the work was stopped")
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=told)
        _running.add(process)
    try:
        if "runtime=cpu" not in command:
            return process.wait(), time.monotonic() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        _running.discard(process)
    return process.returncode, usage.ru_utime + usage.ru_stime


def stop_all() -> None:
    """Ask every running command to save and end, and let no other begin; for a signal while several run side by side."""
    with _starting:
        _ending.append(True)
        for process in list(_running):
            with suppress(
                ProcessLookupError
            ):  # not by Popen, which would take the status that another thread waits for
                os.kill(process.pid, signal.SIGTERM)


def _last_words(path: Path) -> str:
    """Return the sentence that a failed run ended with."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "no override")
    return f"{said.removeprefix('error: ')} (see {path})"
