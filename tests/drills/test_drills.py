"""A share of the drills: kills and signals lose nothing and change no bit. ``python -m tests.drills --count 200`` is the whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def drills(count, *more):
    """Carry them out in a process of their own, which forks one for each: this one may have threads."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "tests.drills", "--count", str(count), *more],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_few_kills_and_signals_lose_nothing():
    drills(4)


@pytest.mark.slow
def test_many_kills_and_signals_lose_nothing():
    drills(24, "--seed", "1")
