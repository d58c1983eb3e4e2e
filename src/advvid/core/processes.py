"""Processes that work for this one: they leave signals to it and end when it is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context

from advvid.core.errors import AdvvidError

# SLURM sends SIGTERM, or what --signal names; submitit asks for SIGUSR2 (older versions: SIGUSR1); Ctrl-C is SIGINT.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
# Names the process that a run works for, such as one that makes a paper's tables.
PARENT = "ADVVID_PARENT"
LOOK = 0.5


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back for as long as a block; processes and threads started in it hold them back for good.

    So a signal to a whole process group, which clusters and ``timeout`` send, reaches the process that knows what to save.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent(*_: object) -> None:
    """In a process of ``multiprocessing``: leave signals to the parent, and end as soon as it is gone.

    Fits a pool's ``initializer`` and a DataLoader's ``worker_init_fn``.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)  # nothing of a worker's is worth a clean end

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


@contextmanager
def pool(count: int, method: str = "fork") -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes that ends at once when the block is left by an error, a signal or a kill.

    Args:
        count: of processes.
        method: how they start: ``fork`` at once, ``forkserver`` where this process has threads or a GPU.

    Raises:
        AdvvidError: if one of them is killed.

    Example:
        >>> with pool(2) as workers:                                 # doctest: +SKIP
        ...     sums = list(workers.map(sum, [(1, 2), (3, 4)]))
    """
    before = {child.pid for child in multiprocessing.active_children()}
    made = ProcessPoolExecutor(count, get_context(method), initializer=obey_parent)
    try:
        yield made
    except BaseException as error:
        for child in multiprocessing.active_children():
            if child.pid not in before:
                child.kill()
        made.shutdown(wait=False, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise AdvvidError(
                "one of the processes that worked for this one was killed, perhaps for want of memory: give the same command "
                "again; nothing is half written"
            ) from None
        raise
    made.shutdown()


def end_after_parent() -> None:
    """Ask this process to stop, as SIGTERM does, when the process is gone that it works for and that ``PARENT`` names.

    A training saves first. Without ``PARENT``, which ``for_parent`` sets, nothing happens.
    """
    given = os.environ.get(PARENT, "")
    if not given.isdigit():
        return

    def watch() -> None:
        while os.getppid() == int(given):
            time.sleep(LOOK)
        with suppress(ProcessLookupError):
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-after-parent", daemon=True).start()


def for_parent() -> dict[str, str]:
    """Return what the environment of a started run needs, so that it ends after this process."""
    return {PARENT: str(os.getpid())}
