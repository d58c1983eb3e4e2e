"""SurFree and the heuristic video attack: labels only, within their queries, nearer with each of them."""

import pytest
import torch
from toy import generators, trained

from advvid.attacks.ddn import DDN
from advvid.attacks.heuristic_video import HeuristicVideo, salient_region
from advvid.attacks.oracle import marks
from advvid.attacks.surfree import SurFree


def case(n=4):
    model, clips, labels = trained()
    return model, clips[:n], labels[:n]


@pytest.mark.parametrize("kind", [SurFree, HeuristicVideo])
def test_the_distance_falls_with_the_queries(kind):
    model, clips, labels = case()
    result = kind(queries=300).run(model, clips, labels, generators(4))
    curve = result.aux["curve"]
    assert curve.shape == (4, len(marks(300)))
    assert (curve[:, 1:] <= curve[:, :-1]).all()
    assert torch.equal(curve[:, -1], result.aux["norm"])
    assert (result.aux["queries"] == 300).all()
    assert (model(result.x_adv).argmax(dim=1) != labels).all()
    best = DDN().run(model, clips, labels, generators(4)).aux["norm"]
    assert (result.aux["norm"] >= 0.99 * best).all()
    first = curve.nan_to_num(posinf=0).amax(dim=1)  # of the random start
    assert curve[:, -1].mean() < 0.5 * first.mean()


def test_the_heuristic_attack_changes_the_frames_that_it_names():
    model, clips, labels = case()
    result = HeuristicVideo(queries=200).run(model, clips, labels, generators(4))
    changed = (result.x_adv != clips).any(dim=(1, 3, 4))
    assert torch.equal(changed, result.aux["frames"])
    assert changed.any(dim=1).all()
    untouched = (result.x_adv == clips).all(dim=1).flatten(1).float().mean(dim=1)
    assert untouched.median() > 0.2


def test_what_differs_from_its_surroundings_is_salient():
    clip = torch.full((1, 3, 2, 16, 16), 0.5)
    clip[..., 4:8, 4:8] = 1.0
    region = salient_region(clip, 0.25)
    assert region.shape == (1, 1, 2, 16, 16)
    assert region[..., 4:8, 4:8].float().mean() > 0.7
    assert not region[..., 12:, 12:].any()
