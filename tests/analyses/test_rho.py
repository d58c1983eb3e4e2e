"""Rho: the closed form of a linear model, the same clips compared."""

import pytest
from small_run import SHAPE, N, context, network, saved, split

from advvid.analyses.base import carry_out
from advvid.analyses.rho import Rho, compared
from advvid.attacks.deep_fool import DeepFool
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.tracking.trackers import NoTracker
from small_models import LinearModel


def test_a_linear_model_gives_the_distance_to_its_boundary(tmp_path):
    model = LinearModel(SHAPE).eval()
    clips = split(model, wrong=())
    x = clips.videos.float() / 255
    known = (model(x)[:, 0].abs() / model.w.norm() / x.flatten(1).norm(dim=1)).detach()
    ctx = context(tmp_path, model, "rho", clips=clips, classes=["left", "right"])
    (row,) = carry_out(Rho(), ctx, NoTracker())["models"]
    assert row["clips"] == pytest.approx(known.tolist(), rel=0.01)
    assert (row["wrong"], row["not_found"]) == (0, 0)
    assert row["rho"]["mean"] == pytest.approx(float(known.mean()), rel=0.01)
    assert row["rho"]["ci95"][0] <= row["rho"]["mean"] <= row["rho"]["ci95"][1]
    assert (tmp_path / "analysis" / "rho.png").is_file()


def test_models_are_compared_on_the_clips_that_both_have(tmp_path):
    assert compared([0.2, None, 0.4], [0.1, 0.1, None]) == {
        "mean": pytest.approx(0.1),
        "ci95": [pytest.approx(0.1)] * 2,
        "n": 1,
    }
    assert compared([None], [0.1]) is None
    run = saved(tmp_path / "other", network(2))
    result = Rho(attack=DeepFool(steps=3), checkpoints=[run]).run(context(tmp_path, network(1), "rho"))
    first, second = result["models"]
    assert len(first["clips"]) == len(second["clips"]) == N
    assert second["difference"] == compared(second["clips"], first["clips"])


@pytest.mark.parametrize("attack", [DeepFool(eps=0.5), DeepFool(norm="linf"), PGD()])
def test_another_measure_is_refused(attack):
    with pytest.raises(AdvvidError, match=r"leave analysis\.attack=deep_fool|Rho\.attack=PGD is not possible"):
        Rho(attack=attack)
