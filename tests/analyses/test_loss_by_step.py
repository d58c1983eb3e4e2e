"""The loss over the steps of an attack: each point is the attack of so many steps, and all lie within the budget."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_run import context, network

from advvid.analyses.base import carry_out
from advvid.analyses.loss_by_step import LossByStep
from advvid.attacks.sparse import Sparse
from advvid.core.batch import clip_generators
from advvid.core.errors import AdvvidError
from advvid.tracking.trackers import NoTracker


def test_every_point_is_the_attack_of_so_many_steps(tmp_path):
    model = network(1)
    attack = Sparse(budget=0.01, at_budget="project", weight=0)
    analysis = LossByStep(attack=attack, key_frames=["first", "random"], steps=[4, 1])
    ctx = context(tmp_path, model, "loss_by_step")
    result = carry_out(analysis, ctx, NoTracker())
    first, drawn = result["curves"]
    assert [point["steps"] for point in first["points"]] == [0, 1, 4]
    assert first["points"][0] == drawn["points"][0]
    assert first["points"][0]["mean"] < first["points"][1]["mean"] <= first["points"][2]["mean"]
    assert "l2,1 at most 0.01" in result["budget"]
    clips = next(ctx.batches())
    whole = Sparse(budget=0.01, at_budget="project", weight=0, steps=4, early_exit=False)
    found = whole.run(model, clips.inputs, clips.target, clip_generators(0, "any", clips.ids))
    assert (attack.threat.distance(found.x_adv, clips.inputs) <= 0.01 + 1e-5).all()
    assert (tmp_path / "analysis" / "loss_by_step.png").is_file()


def test_given_frames_leave_nothing_to_compare():
    with pytest.raises(AdvvidError, match="to one without given"):
        LossByStep(attack=Sparse(key_frame="given", given=[1]))
