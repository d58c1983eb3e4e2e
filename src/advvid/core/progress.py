"""Progress bars with clips per second and the time left."""

from __future__ import annotations

import os
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


class _Speed(ProgressColumn):
    """Clips per second over the last part of the bar."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} clips/s", style="cyan")


class Bar:
    """A running bar; ``advance(clips)`` and ``describe(text)`` move it."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def advance(self, clips: int) -> None:
        """Count clips as done."""
        self._progress.advance(self._task, clips)  # type: ignore[arg-type]

    def describe(self, text: str) -> None:
        """Change the words in front of the bar."""
        self._progress.update(self._task, description=text)  # type: ignore[arg-type]


@contextmanager
def bar(description: str, total: int, done: int = 0) -> Iterator[Bar]:
    """Show a bar over ``total`` clips on standard error; it shows nothing where that is no terminal."""
    quiet = any(os.environ.get(name, "0") != "0" for name in RANKS)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        console=CONSOLE,
        transient=True,
        disable=quiet or not CONSOLE.is_terminal,
    )
    with progress:
        yield Bar(progress, progress.add_task(description, total=total, completed=done))
