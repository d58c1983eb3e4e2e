"""Without a terminal a line tells how far the work is, however long one step of it takes."""

import io
import logging
import time

import pytest
from rich.console import Console

from advvid.core import progress
from advvid.core.progress import Bar, bar, spoken


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_line_counts_what_is_left_of_all_the_work(clock):
    show = Bar("epoch 2/10", 100, 20, rest=800)
    assert show.line == "epoch 2/10: 20 of 100 clips"
    clock[0] = 10.0
    show.advance(20)
    assert show.line == "epoch 2/10: 40 of 100 clips, 2 clips/s, 7 min left in all"  # (60 + 800) / 2 s


def test_parts_of_a_batch_count_before_it_is_done(clock):
    show = Bar("evaluation", 100)
    clock[0] = 5.0
    show.describe("pgd", within=25)
    assert show.line == "evaluation: 25 of 100 clips, at pgd, 5 clips/s, 15 s left"
    show.advance(50)
    assert show.line.startswith("evaluation: 50 of 100 clips, at pgd")


def test_a_long_step_does_not_keep_it_silent(monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    with caplog.at_level(logging.INFO), bar("evaluation", 10) as show:
        show.advance(5)
        limit = time.monotonic() + 60
        while len(caplog.records) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
    said = [record.message for record in caplog.records]
    assert len(said) >= 2
    assert all(text.startswith("evaluation: 5 of 10 clips, ") for text in said)
    count = len(caplog.records)
    time.sleep(0.05)
    assert len(caplog.records) == count  # it ended with the work


def test_a_program_without_a_log_says_it_on_standard_error(monkeypatch):
    """Nothing is lost to a level that nobody chose: advvid in three lines of Python is not silent for minutes."""
    said = io.StringIO()
    monkeypatch.setattr(progress, "EVERY", 0.01)
    monkeypatch.setattr(progress, "CONSOLE", Console(file=said, width=160))
    monkeypatch.setattr(progress.log, "propagate", False)
    with bar("evaluation", 10) as show:
        show.advance(5)
        limit = time.monotonic() + 60
        while not said.getvalue() and time.monotonic() < limit:
            time.sleep(0.01)
    assert said.getvalue().startswith("evaluation: 5 of 10 clips, ")


def test_other_processes_say_nothing(monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY", 0.01)
    monkeypatch.setenv("RANK", "1")
    with caplog.at_level(logging.INFO), bar("evaluation", 10):
        time.sleep(0.05)
    assert not caplog.records


def test_times_are_spoken():
    assert [spoken(s) for s in (0.4, 99, 100, 3600, 36000)] == ["0 s", "99 s", "2 min", "60 min", "10.0 h"]
