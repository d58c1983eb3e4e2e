"""Locks: one holder, who is named; freed by death, not inherited by forked processes."""

import json
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from advvid.core import locks, processes
from advvid.core.errors import AdvvidError
from advvid.core.files import HOST
from advvid.core.locks import locked


def forked(work):
    """Carry out ``work`` in a forked process of a group of its own; return its number."""
    child = os.fork()
    if not child:
        os.setsid()
        # The fork server of an earlier test is this process's child, not the new one's, which has to start its own.
        vars(forkserver._forkserver).update(_forkserver_pid=None, _forkserver_address=None, _forkserver_alive_fd=None)
        try:
            work()
        finally:
            os._exit(0)
    return child


# Whoever sleeps would do so for longer than anyone waits, also on a busy machine.
SLEEP, PATIENCE = 600, 120


def until(true):
    limit = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def hold(file, ready, also=lambda: None):
    with locked(file, "the data"):
        also()
        ready.touch()
        time.sleep(SLEEP)


def test_a_second_process_is_refused_by_name_and_a_dead_one_holds_nothing(tmp_path):
    file, ready = tmp_path / "run.lock", tmp_path / "ready"
    child = forked(lambda: hold(file, ready))
    until(ready.exists)
    with (
        pytest.raises(AdvvidError, match=rf"the run folder a is in use by process {child} on {HOST} \(since 20.*other"),
        locked(file, "the run folder a", wait=False, remedy="choose another"),
    ):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert json.loads(file.read_text())["pid"] == child
    with locked(file, "the run folder a", wait=False):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert not file.exists()


def test_a_forked_process_starts_its_own_fork_server(tmp_path):
    def work():
        with processes.pool(1, "forkserver") as pool:
            (tmp_path / "said").write_text(str(pool.submit(abs, -1).result()))

    with processes.pool(1, "forkserver") as pool:
        assert pool.submit(abs, -1).result() == 1
    os.waitpid(forked(work), 0)
    assert (tmp_path / "said").read_text() == "1"


def _sleep(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(SLEEP)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_end_with_a_killed_parent_and_do_not_keep_its_lock(tmp_path, method):
    """With forked workers that hold the lock and wait for ever, every later run would hang."""
    file, pids = tmp_path / ".lock", tmp_path / "pids"
    pids.mkdir()

    def work():
        with locked(file, "the data"), processes.pool(2, method) as pool:
            list(pool.map(_sleep, [pids] * 2))

    child = forked(work)
    until(lambda: len(os.listdir(pids)) == 2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with locked(file, "the data", wait=False):
        pass
    until(lambda: not any(Path(f"/proc/{pid}").exists() and _runs(pid) for pid in os.listdir(pids)))


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_signal_to_the_group_is_the_parents_and_an_error_ends_the_pool_at_once(tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()

    def work():
        from advvid.distributed.signals import Interrupted, interruptible

        try:
            with interruptible(), processes.pool(2) as pool:
                list(pool.map(_sleep, [pids] * 2))
        except Interrupted as stop:
            (tmp_path / "said").write_text(str(stop))

    child = forked(work)
    until(lambda: len(os.listdir(pids)) == 2)
    os.killpg(child, signal.SIGUSR1)
    began = time.monotonic()
    os.waitpid(child, 0)
    assert time.monotonic() - began < PATIENCE
    assert (tmp_path / "said").read_text() == "stopped by SIGUSR1"


def test_a_wait_says_for_whom_and_where(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    file, ready = tmp_path / ".lock", tmp_path / "ready"
    child = forked(lambda: hold(file, ready))
    until(ready.exists)
    waiting = multiprocessing.get_context("fork").Event()

    def end():
        waiting.wait(20)
        os.kill(child, signal.SIGKILL)

    other = forked(end)
    with caplog.at_level(logging.WARNING, "advvid.core.locks"):
        monkeypatch.setattr(
            locks.log, "warning", lambda *args: (waiting.set(), caplog.records.append(args[0] % args[1:]))
        )
        with locked(file, "the embedded data in /x"):
            pass
    for pid in (child, other):
        os.waitpid(pid, 0)
    assert f"waiting for process {child} on {HOST} (since" in caplog.records[0]
    assert f"works on the embedded data in /x (lock: {file})" in caplog.records[0]


def test_a_run_that_outlives_the_process_it_worked_for_is_waited_for(tmp_path, monkeypatch):
    """A killed ``make papers`` leaves a training that saves and ends by itself: the next one waits for it."""
    file, ready = tmp_path / "run.lock", tmp_path / "ready"
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    monkeypatch.setenv(processes.PARENT, str(gone))
    said = tmp_path / "said"

    def work():
        from advvid.distributed.signals import Interrupted, interruptible

        try:
            with interruptible(), locked(file, "the run"):
                ready.touch()
                time.sleep(0.5)
                processes.end_after_parent()
                time.sleep(SLEEP)
        except Interrupted as stop:
            said.write_text(str(stop))

    child = forked(work)
    until(ready.exists)
    with locked(file, "the run", wait=False):
        pass
    os.waitpid(child, 0)
    assert said.read_text() == "stopped by SIGTERM"


def test_a_process_does_not_take_its_own_lock_twice(tmp_path):
    with locked(tmp_path / "l", "it"):
        with pytest.raises(AdvvidError, match="in use"), locked(tmp_path / "l", "it", wait=False):
            pass
        child = forked(lambda: hold(tmp_path / "l", tmp_path / "ready"))
        time.sleep(0.3)
        assert not (tmp_path / "ready").exists()
    until((tmp_path / "ready").exists)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


class _Dropping:
    """Its deletion is where Python drops exceptions."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass


def test_a_signal_ends_the_work_even_where_python_drops_its_exception_and_a_second_one_does_not_cut_off_the_tidying(
    tmp_path,
):
    def work():
        from advvid.distributed.signals import Interrupted, interruptible

        try:
            with interruptible():
                try:
                    _Dropping()
                    time.sleep(SLEEP)
                finally:
                    os.kill(os.getpid(), signal.SIGTERM)
                    (tmp_path / "tidied").touch()
        except Interrupted as stop:
            (tmp_path / "said").write_text(str(stop))

    began = time.monotonic()
    os.waitpid(forked(work), 0)
    assert time.monotonic() - began < PATIENCE
    assert (tmp_path / "tidied").exists()
    assert (tmp_path / "said").read_text() == "stopped by SIGTERM"


def test_a_worker_that_is_killed_is_told_in_one_sentence():
    with pytest.raises(AdvvidError, match="processes that worked for this one was killed"), processes.pool(2) as pool:
        list(pool.map(_end, [0, 1]))


def _end(_):
    os.kill(os.getpid(), signal.SIGKILL)
