"""Files appear whole or not at all, and a disk that refuses is told in one sentence."""

import errno
import logging
import os
import resource
import subprocess

import numpy as np
import pytest
import torch

from advvid.core import files
from advvid.core.run_log import RunLog

WAYS = {
    "bytes": lambda path: files.write_bytes(path, b"x" * 300_000),
    "text": lambda path: files.write_text(path, "é" * 150_000),
    "json": lambda path: files.write_json(path, list(range(40_000))),
    "arrays": lambda path: files.write_arrays(path, {"a": np.zeros(40_000)}),
    "tensors": lambda path: files.write_tensors(path, {"a": torch.zeros(80_000)}, durable=True),
    "line": lambda path: files.append_line(path, "x" * 300_000),
}


@pytest.fixture
def limit():
    """Let this process write files of at most 100 kB, as ``ulimit -f`` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size=100_000: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def tiny(tmp_path):
    """A disk of 200 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_size_limit_leaves_the_old_file_and_names_what_was_needed(tmp_path, limit, way):
    path = tmp_path / "result"
    path.write_bytes(b"old")
    limit()
    with pytest.raises(files.StorageError, match=rf"{path} cannot be written \(.*it needs 3\d\d kB.*ulimit -f"):
        WAYS[way](path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_leaves_the_old_file_and_the_same_call_goes_on_when_there_is_room(tiny, way):
    path = tiny / "result"
    path.write_bytes(b"old")
    with pytest.raises(files.StorageError, match=r"the disk is full; it needs 3\d\d kB, \d+ (kB|bytes) are free"):
        WAYS[way](path)
    assert (path.read_bytes(), os.listdir(tiny)) == (b"old", ["result"])
    subprocess.run(["mount", "-o", "remount,size=2m", tiny], check=True)
    WAYS[way](path)
    assert path.stat().st_size >= 300_000


def test_a_read_only_disk_is_named(tiny):
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    with pytest.raises(files.StorageError, match="read-only"):
        files.write_text(tiny / "a" / "b.json", "{}")


@pytest.mark.parametrize(("place", "words"), [("taken/a", "a file stands where"), ("n" * 300, "too long")])
def test_an_impossible_place_is_named(tmp_path, place, words):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(files.StorageError, match=words):
        files.write_text(tmp_path / place, "{}")


def test_an_error_of_the_writer_itself_is_not_put_on_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a"):
        open("/nowhere/at/all")  # noqa: SIM115
    assert not os.listdir(tmp_path)


def test_only_what_dead_processes_left_is_removed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, other = f".a.pt.{files.HOST}-{ended.pid}.tmp", f".a.pt.elsewhere-{ended.pid}.tmp"
    for name in (dead, other, files.scratch_beside(tmp_path / "b.pt").name, "mine.tmp", ".vimrc.tmp"):
        (tmp_path / name).write_text("")
    (tmp_path / f".data.{files.HOST}-{ended.pid}.tmp").mkdir()
    assert files.remove_abandoned(tmp_path.rglob(".*.tmp")) == 2
    left = {other, files.scratch_beside(tmp_path / "b.pt").name, "mine.tmp", ".vimrc.tmp"}
    assert set(os.listdir(tmp_path)) == left


def test_a_process_that_waits_to_be_asked_for_its_status_is_dead():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert not files.alive(child)
    os.waitpid(child, 0)


def test_a_log_without_room_says_so_once_and_the_run_goes_on(tmp_path, limit, capsys):
    handler = RunLog(tmp_path / "train.log", delay=True)
    limit()
    for _ in range(3):
        handler.emit(logging.makeLogRecord({"msg": "x" * 60_000}))
    handler.close()
    said = capsys.readouterr().err
    assert said.count("train.log takes no more lines") == 1
    assert "Traceback" not in said
    assert handler.lost


def test_what_is_not_known_keeps_the_words_of_the_system(tmp_path):
    error = files.storage_error(OSError(errno.ESTALE, "Stale file handle"), tmp_path)
    assert "(Stale file handle)" in str(error)
