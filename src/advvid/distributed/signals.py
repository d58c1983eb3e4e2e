"""Signals by which a cluster takes a machine back: training saves first and only then stops."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.core.processes import SIGNALS

# A second Ctrl-C ends a run that is still saving; sooner than this it is the same one, which arrived twice.
IMPATIENT, REPEATED = 1.0, 10.0
_asked: list[float] = []  # when this process was asked to end
GO_ON = "the same command with resume=true and hydra.run.dir=<run folder> (of a sweep: hydra.sweep.dir) goes on"


class StoppedError(AdvvidError):
    """A signal ended the run after its work was saved."""


class Interrupted(KeyboardInterrupt):
    """A signal ends the run as Ctrl-C does, between two of its files.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A run that stops together with its group is asked twice; the second time would cut off what it is tidying up.
    patience = IMPATIENT if number == signal.SIGINT else REPEATED
    if _asked and time.monotonic() - _asked[-1] < patience:
        return
    _asked.append(time.monotonic())
    raise Interrupted(number)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let every signal that asks for an end do what Ctrl-C does, except where somebody handles it already.

    Raises:
        Interrupted: out of the block, when a signal comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = sys.unraisablehook

    def swallowed(unraisable: Any) -> None:
        """Send a signal again whose exception came up where Python drops it, as while it deletes an object."""
        if isinstance(unraisable.exc_value, Interrupted):
            number = unraisable.exc_value.number
            _asked.clear()
            threading.Timer(0.05, lambda: os.kill(os.getpid(), number)).start()
        else:
            told(unraisable)

    sys.unraisablehook = swallowed
    _asked.clear()
    taken = [number for number in SIGNALS if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    before = {number: signal.signal(number, _interrupt) for number in taken}
    try:
        yield
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Remembers a signal that arrives while training runs, for the next moment at which the work can be saved.

    Example:
        >>> with StopRequest() as request:
        ...     request.asked
        False
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python lets only the main thread handle signals.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._number is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked and time.monotonic() - self._since > IMPATIENT:
            raise Interrupted(number)
        if not self.asked:
            self._number, self._since = number, time.monotonic()

    def stop(self, saved: Path) -> None:
        """Hand the signal on, now that the work is saved.

        Whoever handled it before does so now: submitit puts the job back into the queue on one signal and ends the
        process, and passes over another, after which training goes on. With nobody there, the run ends.

        Args:
            saved: the checkpoint that was written.

        Raises:
            StoppedError: saying how to go on, where there is no earlier handler.
        """
        number = self._number or signal.SIGTERM
        before: Callable[[int, FrameType | None], Any] | int | None = self._before.get(number)
        name = signal.Signals(number).name
        self.__exit__(None, None, None)
        if callable(before) and before not in (_interrupt, signal.default_int_handler):
            before(number, None)
            self._number = None
            self.__enter__()
            return
        requeue = "; the job went back into the queue" if _requeued() else ""
        raise StoppedError(f"stopped by {name} after saving {saved}{requeue}: {GO_ON}")


@contextmanager
def handed_to_children() -> Iterator[None]:
    """Hand signals to the processes that this one started, which save and end, while it waits for them."""

    def hand(number: int, frame: FrameType | None) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    before = {number: signal.signal(number, hand) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _requeued() -> bool:
    """Put this SLURM job back into the queue, where there is one; jobs of submitit see to it themselves."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or os.environ.get("SLURM_PROCID", "0") != "0" or shutil.which("scontrol") is None:
        return False
    return subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True).returncode == 0
