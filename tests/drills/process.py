"""A command line in a forked process of a group of its own, and what strikes it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# A process that does not end so many seconds after a signal, or at all, hangs.
PATIENCE = 120.0


@dataclass(frozen=True)
class Strike:
    """A signal and its moment.

    Args:
        number: of the signal.
        group: whether the whole process group gets it, as a cluster and ``timeout`` send it.
        seconds: after the start, where ``write`` is None.
        write: in which step of writing files; every file has three: half written, whole under its scratch name, in place.
    """

    number: int
    group: bool
    seconds: float = 0.0
    write: int | None = None

    def __str__(self) -> str:
        when = f"{self.seconds:.2f} s" if self.write is None else f"write {self.write}"
        return f"{signal.Signals(self.number).name} to the {'group' if self.group else 'process'} at {when}"

    def hit(self, pid: int) -> None:
        """Send the signal."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if self.group else os.kill)(pid, self.number)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: by which signal; None: it hung), its words and its seconds."""

    status: int | None
    said: str
    seconds: float
    struck: bool = False
    left: bool = False


def carry_out(
    program: Callable[[], Any],
    words: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    strike: Strike | None = None,
) -> Ended:
    """Carry out a command line in a forked process and strike it.

    Everything that it needs is imported already, so that a drill costs what its work costs.

    Args:
        program: a ``main`` that reads ``sys.argv``.
        words: of the command line.
        environment: what it has beside this process's.
        log: where its output goes.
        strike: None lets it finish.
    """
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        _child(program, words, environment, log, strike)
    limit, struck, status = began + PATIENCE, False, None
    while time.monotonic() < limit:
        done, raw = os.waitpid(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(raw)
            break
        if strike is not None and strike.write is None and not struck and time.monotonic() - began >= strike.seconds:
            strike.hit(pid)
            struck, limit = True, time.monotonic() + PATIENCE
        time.sleep(0.005)
    seconds = time.monotonic() - began
    left = not _group_ends(pid, 15.0 if status is not None else 0.0)
    if status is None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    said = log.read_text(errors="replace")
    # A strike at a write shows in how the process ended.
    return Ended(
        status, said, seconds, struck or (strike is not None and strike.write is not None and status != 0), left
    )


def _group_ends(pid: int, patience: float) -> bool:
    """Wait for the last process of a group; kill what is left."""
    limit = time.monotonic() + patience
    while time.monotonic() <= limit:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return False


def _child(
    program: Callable[[], Any], words: Sequence[str], environment: Mapping[str, str], log: Path, strike: Strike | None
) -> None:
    def begin() -> Any:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        os.environ.update(environment)
        sys.argv = ["advvid", *words]
        if strike is not None and strike.write is not None:
            strike_at_write(strike)
        return program()

    end_with(begin)


def end_with(program: Callable[[], Any]) -> NoReturn:
    """Carry out a program and end this process as Python itself would, without what a fork inherits to do at its exit."""
    code = 1
    try:
        code = int(program() or 0)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except BaseException:  # noqa: BLE001  as Python itself does
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def strike_at_write(strike: Strike) -> None:
    """Let this process be struck in a step of its writing of files."""
    from advvid.core import files

    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == strike.write:
            strike.hit(0 if strike.group else os.getpid())

    settle, replace = files._Counted.settle, Path.replace

    def settled(self: Any, durable: bool) -> None:
        step()
        settle(self, durable)

    def replaced(self: Path, target: Path) -> Path:
        step()
        found = replace(self, target)
        step()
        return found

    files._Counted.settle, Path.replace = settled, replaced  # type: ignore[method-assign,assignment]


class ForkedPopen:
    """Stands in for ``subprocess.Popen`` of ``python -m advvid.train ...``: forks instead of importing everything again."""

    def __init__(self, command: Sequence[str], stdout: Any, stderr: int, env: Mapping[str, str]) -> None:
        assert stderr == subprocess.STDOUT
        from advvid.train import main

        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (1, 2):
            os.dup2(stdout.fileno(), stream)
        os.environ.update(env)
        sys.argv = ["advvid", *command[3:]]
        end_with(main)

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the end."""
        if self.returncode is None:
            try:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:
                self.returncode = 1
        return self.returncode
