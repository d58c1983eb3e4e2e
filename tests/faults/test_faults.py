"""Every planted fault is caught, or named as one that cannot be, and the published table says so."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # so that `python -m tests.faults` and pytest import the same modules

from tests.faults.fault import Setup, outcome  # noqa: E402
from tests.faults.listing import FAULTS, markdown  # noqa: E402

PUBLISHED = ROOT / "outputs" / "published" / "planted_faults.md"


@pytest.fixture(scope="module")
def outcomes():
    return [outcome(fault) for fault in FAULTS]


def test_each_fault_reads_as_expected(outcomes):
    for fault, found in zip(FAULTS, outcomes, strict=True):
        assert bool(fault.reads) != bool(fault.why_not), fault.name
        assert (found.kind == "not catchable") == bool(fault.why_not), (fault.name, found)
        assert fault.reads in found.sentence, (fault.name, found)
        assert "\n" not in found.sentence
        assert not re.search(r"Traceback|RuntimeError", found.sentence)


def test_there_are_enough_and_each_has_its_own_name():
    assert len(FAULTS) >= 40
    assert len({(fault.name, fault.where) for fault in FAULTS}) == len(FAULTS)


def test_the_published_table_is_current(outcomes):
    """Figures may differ in their last digits from machine to machine."""

    def words(text):
        return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "#", text)

    assert words(PUBLISHED.read_text()) == words(markdown(outcomes)), "python -m tests.faults " + str(PUBLISHED)


def test_a_sound_world_raises_nothing_but_few_clips(tmp_path):
    assert Setup(tmp_path).evaluate() == []
