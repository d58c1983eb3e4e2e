"""Choice of key frames: known losses by hand, and a full search that nothing beats."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_run import SHAPE, context, network

from advvid.analyses.base import carry_out
from advvid.analyses.frame_search import FrameSearch, summary
from advvid.attacks.pgd import PGD
from advvid.attacks.sparse import Sparse
from advvid.core.errors import AdvvidError
from advvid.tracking.trackers import NoTracker


def clip(loss, fooled, frames, calls=10):
    return {"loss": loss, "fooled": fooled, "frames": frames, "gradient_calls": calls}


def test_the_summary_by_hand():
    found = summary(
        {
            "first": [clip(0.5, False, [0]), clip(1.0, True, [0])],
            "bayesian": [clip(1.5, True, [2]), clip(2.0, True, [1])],
            "brute_force": [clip(2.5, True, [2], 40), clip(2.0, True, [3], 40)],
        }
    )["rules"]
    assert found["bayesian"]["loss"]["mean"] == pytest.approx(1.75)
    assert found["bayesian"]["less_than_every"]["mean"] == pytest.approx(0.5)
    assert found["bayesian"]["same_frames"] == 0.5
    assert found["first"]["fooled"]["rate"] == 0.5
    assert found["brute_force"]["gradient_calls"] == 40
    assert found["brute_force"]["less_than_every"]["mean"] == 0


def test_trying_every_frame_costs_the_most_and_is_not_beaten(tmp_path):
    # So small a weight that the objective ranks frames as the loss does.
    attack = Sparse(steps=6, frames=1, key_frame="bayesian", weight=1e-6, trials=2, trial_steps=2)
    result = carry_out(FrameSearch(attack=attack), context(tmp_path, network(1), "frame_search"), NoTracker())
    assert result["n"] == 11  # one of the twelve is wrong without attack
    rules, rows = result["rules"], result["clips"]
    for every, first, chosen in zip(rows["brute_force"], rows["first"], rows["bayesian"], strict=True):
        assert first["frames"] == [0]
        for other in (first, chosen):
            assert (every["fooled"], every["loss"] + 1e-4) >= (other["fooled"], other["loss"])
    # Six updates on each of the frames, on one frame, and two trials of two before all six.
    assert rules["brute_force"]["gradient_calls"] == 6 * SHAPE[1]
    assert rules["first"]["gradient_calls"] == 6
    assert rules["bayesian"]["gradient_calls"] == 2 * 2 + 6
    assert (tmp_path / "analysis" / "frame_search.png").is_file()


@pytest.mark.parametrize("attack", [PGD(), Sparse(key_frame="given", given=[1])])
def test_an_attack_that_chooses_no_frames_is_refused(attack):
    with pytest.raises(
        AdvvidError,
        match=r"set analysis\.attack to an attack that chooses them|FrameSearch\.attack=PGD is not possible",
    ):
        FrameSearch(attack=attack)
