"""What the table of purifiers says of its rows."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))
import purifier_table
from advvid.purifiers.filters import GaussianBlur
from advvid.purifiers.levels import BitDepth
from advvid.purifiers.surrogates import HeldMatch, LowPass
from advvid.purifiers.temporal_defense import TemporalDefense
from advvid.purifiers.video_compression import VideoCompression


@pytest.mark.parametrize(
    ("purifier", "name"),
    [
        (VideoCompression(), "identity"),
        (VideoCompression(surrogate=LowPass()), "LowPass"),
        (TemporalDefense(surrogate=HeldMatch()), "HeldMatch"),
        (BitDepth(surrogate=GaussianBlur()), "GaussianBlur"),
    ],
)
def test_the_stand_in_is_named(purifier, name):
    assert purifier_table.stand_in({"settings": purifier.settings}) == name


def test_rows_with_more_iterations_are_named():
    rows = {"a": {"command": "suite.pgd.eps=4/255"}, "b": {"command": "suite.pgd.eps=4/255 suite.pgd.steps=60 name=x"}}
    assert purifier_table.steps_of(rows) == ", b 60"


def test_restored_is_the_share_of_clips_that_were_right():
    def row(clean, left):
        return {"scores": {"clean": {"acc": clean}, "pgd": {"acc": left}}}

    assert purifier_table.restored(row(0.8, 0.4), row(1.0, 0.2), "pgd") == pytest.approx(0.5 / 0.8)
    assert purifier_table.restored(row(0.8, 0.4), row(1.0, 1.0), "pgd") is None
