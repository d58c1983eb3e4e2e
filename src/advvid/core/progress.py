"""Progress: a bar with clips per second and the time left, or on a machine without a terminal a line every half minute."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

CONSOLE = Console(stderr=True)
# Of several processes only the first one draws; launchers number them here.
RANKS = ("LOCAL_RANK", "RANK")
if not CONSOLE.is_terminal:
    CONSOLE = Console(stderr=True, width=160)  # a log file is no reason to fold lines at 80 characters
# Seconds between the lines where there is no terminal.
EVERY = 30.0
log = logging.getLogger(__name__)


class _Speed(ProgressColumn):
    """Clips per second over the last part of the bar."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} clips/s", style="cyan")


class Bar:
    """How far a piece of work is; ``advance(clips)`` and ``describe(text)`` move it.

    Args:
        title: of the work.
        total: clips.
        done: of these when it begins.
        rest: clips of like work that follow, for the time left.
    """

    def __init__(self, title: str, total: int, done: float = 0, rest: int = 0) -> None:
        self.title, self.total, self.rest = title, total, rest
        self._part, self._done, self._within = "", float(done), 0.0
        self._first, self._began = float(done), time.monotonic()
        self._drawn = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
            console=CONSOLE,
            transient=True,
        )
        self._task = self._drawn.add_task(title, total=total, completed=int(done))

    def advance(self, clips: int) -> None:
        """Count clips as done."""
        self._done, self._within = self._done + clips, 0.0
        self._drawn.update(self._task, completed=int(self._done))

    def describe(self, text: str, within: float = 0.0) -> None:
        """Say what is being done; ``within`` clips' worth of the work that ``advance`` counts next is done by now."""
        self._part, self._within = text, within
        self._drawn.update(self._task, description=text, completed=int(self._done + within))

    @property
    def line(self) -> str:
        """How far it is, in one line.

        Example:
            >>> Bar("evaluation", 100, 20).line
            'evaluation: 20 of 100 clips'
        """
        done = self._done + self._within
        text = f"{self.title}: {int(done)} of {self.total} clips"
        if self._part:
            text += f", at {self._part}"
        speed = (done - self._first) / max(1e-9, time.monotonic() - self._began)
        if speed <= 0:
            return text
        left = spoken((self.total - done + self.rest) / speed)
        return f"{text}, {speed:.3g} clips/s, {left} left{' in all' if self.rest else ''}"


def spoken(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> spoken(42), spoken(600), spoken(9000)
        ('42 s', '10 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


@contextmanager
def bar(description: str, total: int, done: int = 0, rest: int = 0) -> Iterator[Bar]:
    """Show how far work over ``total`` clips is, on standard error: a bar, or every half minute a line, in the log if there is one.

    Args:
        description: of the work.
        total: clips.
        done: of these when it begins.
        rest: clips of like work that follow, which count in the time left.
    """
    show = Bar(description, total, done, rest)
    if any(os.environ.get(name, "0") != "0" for name in RANKS):
        yield show
    elif CONSOLE.is_terminal:
        with show._drawn:
            yield show
    else:
        over = threading.Event()
        # A thread, since a single step of the work may take longer than that.
        teller = threading.Thread(target=_tell, args=(show, over), name="progress", daemon=True)
        teller.start()
        try:
            yield show
        finally:
            over.set()
            teller.join()


def _tell(show: Bar, over: threading.Event) -> None:
    while not over.wait(EVERY):
        if log.hasHandlers():
            log.info("%s", show.line)
        elif log.manager.disable < logging.INFO:  # a program that keeps no log
            CONSOLE.print(show.line, highlight=False, markup=False)
