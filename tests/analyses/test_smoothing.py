"""Randomised smoothing: exact on a linear model, never beaten inside its radius, and told where it is."""

import dataclasses
import json
import math
from statistics import NormalDist

import pytest
import torch
from small_run import N, context, network, split

from advvid.analyses import smoothing
from advvid.analyses.base import carry_out
from advvid.analyses.bounds import below_certificate, held
from advvid.analyses.smoothed import SmoothedScores, certify, counts, lower_bound, predict
from advvid.analyses.smoothing import Smoothing
from advvid.analyses.tries import tries_in_radius
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.tracking.trackers import NoTracker
from small_models import LinearModel

SIGMA = 0.1
FEW = (3, 2, 4, 4)  # what is exact for a linear model is so at any size
NORMAL = NormalDist()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def at_distance(model, far):
    """A clip whose distance to the boundary of a linear model is ``far``."""
    w = model.w.detach()
    return 0.5 + far * w / w.norm()


def test_the_bound_is_clopper_and_pearsons():
    """It is the probability p at which as many hits or more happen with probability alpha."""
    for hits, draws in ((60, 100), (99, 100), (100, 100)):
        p = lower_bound(hits, draws, 0.01)
        tail = sum(math.comb(draws, k) * p**k * (1 - p) ** (draws - k) for k in range(hits, draws + 1))
        assert tail == pytest.approx(0.01, rel=1e-6)
    assert lower_bound(0, 100, 0.01) == 0


@pytest.mark.parametrize("far", [0.02, 0.05, 0.1])
def test_the_radius_of_a_linear_model_is_its_distance_to_the_boundary(far):
    model, draws = LinearModel(FEW), 20_000
    answer, radius = certify(model, at_distance(model, far), SIGMA, (100, draws), 0.001, seeded())
    assert answer == 0
    assert far - 0.005 < radius <= far
    # The same from the closed form: p is Phi(distance / sigma).
    p = float(counts(model, at_distance(model, far), SIGMA, draws, seeded(1))[0]) / draws
    assert p == pytest.approx(NORMAL.cdf(far / SIGMA), abs=0.012)


def test_it_abstains_on_the_boundary_and_certifies_no_farther_than_its_draws_allow():
    model = LinearModel(FEW)
    assert certify(model, at_distance(model, 0.0), SIGMA, (100, 1000), 0.001, seeded()) == (None, 0.0)
    assert predict(model, at_distance(model, 0.0), SIGMA, 1000, 0.001, seeded()) is None
    _, radius = certify(model, at_distance(model, 9.0), SIGMA, (100, 1000), 0.001, seeded())
    assert radius == pytest.approx(SIGMA * NORMAL.inv_cdf(0.001 ** (1 / 1000)))


def test_nothing_within_a_certified_radius_changes_the_answer_in_1000_tries():
    """Half of the tries are the end of a search from a random start, half lie on the line that fools a linear model soonest."""
    model, far = LinearModel(FEW), 0.12
    clip, w = at_distance(model, far), model.w.detach()
    answer, radius = certify(model, clip, SIGMA, (100, 2000), 0.001, seeded())
    assert answer == 0
    assert radius > 0.08
    scores = SmoothedScores(model, SIGMA, torch.randn(4, *FEW, generator=seeded(2)))
    attack = PGD(norm="l2", eps=radius, steps=5, step_size=radius / 2, early_exit=False)
    clips = clip.expand(500, *FEW)
    found = attack.run(scores, clips, torch.zeros(500, dtype=torch.int64), [seeded(i) for i in range(500)]).x_adv
    lengths = radius * torch.rand(500, generator=seeded(3))
    straight = clips - lengths.view(-1, 1, 1, 1, 1) * w / w.norm()
    for tried in (*found, *straight):
        assert float((tried - clip).norm()) <= radius + 1e-4
        assert predict(model, tried, SIGMA, 100, 0.001, seeded(4)) in (0, None)
    # Beyond the boundary it does change: the tries above could have failed.
    assert predict(model, at_distance(model, -far), SIGMA, 100, 0.001, seeded(4)) == 1


def result_of(tmp_path, model, clips=None, **settings):
    analysis = Smoothing(sigmas=[SIGMA, SIGMA / 2], n0=20, n=60, alpha=0.01, **settings)
    return analysis, carry_out(analysis, context(tmp_path, model, "smoothing", clips=clips), NoTracker())


def test_the_proved_share_lies_below_what_the_attack_leaves(tmp_path):
    _, result = result_of(tmp_path, network(1), radii=[0.02, 0.15], attack=PGD(norm="l2", steps=2))
    assert result["n"] == N
    assert [level["sigma"] for level in result["levels"]] == [SIGMA / 2, SIGMA]
    assert result["levels"][1]["largest"] == pytest.approx(2 * result["levels"][0]["largest"])
    for level in result["levels"]:
        assert [bound["radius"] for bound in level["bounds"]] == [0.02, 0.15]
        proved = [bound["certified"]["acc"] for bound in level["bounds"]]
        assert proved == sorted(proved, reverse=True)
        assert all(bound["certified"]["acc"] <= bound["attacked"]["acc"] for bound in level["bounds"])
    assert not result["checks"][0]["raised"]
    assert result["tries"] > 0
    assert (tmp_path / "analysis" / "smoothing.png").is_file()


def test_an_attack_that_succeeds_inside_a_certified_radius_is_told():
    abstained = {"id": "b", "answer": None, "radius": 0.0, "attacked": [0, 0, 0]}
    clips = [{"id": "a", "answer": 1, "radius": 0.2, "attacked": [1, 0, 0]}, abstained]
    assert list(held(clips, "radius", [0.1, 0.2, 0.3])) == [("a", False), ("a", True)]
    assert below_certificate(held(clips, "radius", [0.1, 0.2, 0.3]), "", "").raised
    clips[0]["attacked"] = [1, None, 0]
    assert not below_certificate(held(clips, "radius", [0.1, 0.2, 0.3]), "", "").raised


def test_an_attack_in_another_norm_is_refused():
    with pytest.raises(AdvvidError, match="proves radii in l2"):
        Smoothing(attack=PGD())


def test_batches_do_not_matter(tmp_path):
    clips = split(network(1))
    found = []
    for size in (4, 12):
        given = context(tmp_path / str(size), network(1), "smoothing", batch_size=size, clips=clips)
        result = Smoothing(sigmas=[SIGMA], n0=20, n=40, radii=[0.05], attack=PGD(norm="l2", steps=1)).run(given)
        found.append([(clip["answer"], pytest.approx(clip["radius"])) for clip in result["levels"][0]["clips"]])
    assert found[0] == found[1]


def test_several_views_are_attacked_together(tmp_path):
    """The noise behind the attack's gradients has all frames of a clip, not those of one view."""
    setting = context(tmp_path, network(1), "smoothing", views=2)
    frames = setting.clip_shape[1]
    assert frames % 2 == 0
    halves = dataclasses.replace(setting, clip_shape=(3, frames // 2, *setting.clip_shape[2:]))
    result = carry_out(Smoothing(sigmas=[0.01], n0=4, n=8, radii=[0.001], draws=2), halves, NoTracker())
    assert len(result["levels"][0]["bounds"]) == 1
    assert result["settings"][0]["eps"] == 0.001


def test_tries_lie_in_the_radius_and_fail_where_it_is_too_large(tmp_path):
    """A linear model's radius is exact: nothing inside it succeeds, and ascents inside of twice as much do."""
    model, far = LinearModel(FEW), 0.1
    clip = at_distance(model, far)
    scores = SmoothedScores(model, SIGMA, torch.randn(4, *FEW, generator=seeded(2)))
    seen = []

    class Watched(torch.nn.Module):
        def forward(self, clips):
            seen.append(clips)
            return model(clips)

    still = SmoothedScores(Watched(), 1e-9, scores.noise)
    within = tries_in_radius(still, clip, (0, far), 41, (100, 0.001), seeded())
    distances = torch.cat([shown - clip for shown in seen]).flatten(1).norm(dim=1)
    assert distances.max() <= far + 1e-5
    assert float((distances > 0.99 * far).float().mean()) > 0.5
    assert (len(within), set(within)) == (41, {0})
    assert set(tries_in_radius(scores, clip, (0, far), 40, (100, 0.001), seeded())) <= {0, None}
    beyond = tries_in_radius(scores, clip, (0, 3 * far), 40, (100, 0.001), seeded())
    assert set(beyond[:20]) == {0}
    assert 1 in beyond[20:]


def test_an_analysis_whose_proof_is_beaten_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(smoothing, "certify", lambda model, clip, *_: (int(model(clip[None]).argmax()), 50.0))
    with pytest.raises(AdvvidError, match="although it is proved"):
        result_of(tmp_path, network(1), radii=[0.02], attack=PGD(norm="l2", steps=1), tries=20)
    kept = json.loads((tmp_path / "analysis" / "smoothing.json").read_text())
    assert kept["broken"] > 0
    assert kept["tries"] == 2 * N * 21
