"""Noise on a flow of pixels: what the set holds, what a step moves, and what algorithm 4 leaves alone."""

import pytest
import torch

from advvid.attacks.combined_pgd import CombinedPGD
from advvid.attacks.pgd import PGD
from advvid.core.batch import clip_generators
from advvid.core.errors import AdvvidError
from advvid.threats.flow import warp
from advvid.threats.frames import touched_frames
from advvid.threats.moved import MovedFrames
from advvid.threats.sparse import SparseFrames

IDS = list("abcdef")


class Brightness(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3, 4))


def generators():
    return clip_generators(0, "column", IDS)


def run(small, clips, labels, **settings):
    attack = CombinedPGD(**{"flow": 7.0, "early_exit": False, "keep": "last", "steps": 4, **settings})  # 1 px of 16
    return attack, attack.run(small, clips, labels, generators())


def test_without_a_flow_it_is_pgd(small, clips, labels):
    _, found = run(small, clips, labels, flow=0, noise="8/255", random_start=False)
    known = PGD(eps="8/255", step_size="1/255", steps=4, random_start=False, early_exit=False, keep="last").run(
        small, clips, labels, generators()
    )
    # Sums in another order round otherwise, which turns the sign of a gradient next to zero.
    assert ((found.x_adv - known.x_adv).abs() > 1e-6).float().mean() < 1e-3
    assert torch.equal(found.gradient_calls, known.gradient_calls)


def test_the_clip_is_the_moved_one_with_noise(small, clips, labels):
    attack, found = run(small, clips, labels, flow_step_size=0.7)
    noise = found.x_adv - warp(clips, found.aux["flow"])
    assert noise.abs().max() <= 0.03 + 1e-6
    assert found.aux["flow"].abs().max() <= 1
    assert attack.threat.contains(found.x_adv, clips, found.aux).all()
    # Far more than noise alone: the flow does something, and is not confused with noise.
    assert (found.x_adv - clips).abs().amax() > 0.1
    assert (attack.threat.distance(found.x_adv, clips) <= 0.03 + 1e-6).all()
    assert (attack.threat.distance(found.x_adv + 0.1, clips) > 0.03).all()


def test_the_flow_stays_as_drawn_unless_it_has_a_step(small, clips, labels):
    attack, still = run(small, clips, labels, flow_step_size=0)
    _, moved = run(small, clips, labels, flow_step_size=0.7)
    threat, same = attack.threat, generators()
    threat.sample(clips, same)
    threat.draw_noise(clips, same)
    drawn = threat.draw_flow(clips, same)
    torch.testing.assert_close(still.aux["flow"], drawn)
    assert not torch.equal(moved.aux["flow"], drawn)


def test_only_its_frames_change(small, clips, labels):
    _, first = run(small, clips, labels, frames=1)
    assert torch.equal(first.x_adv[:, :, 1:], clips[:, :, 1:])
    assert not torch.equal(first.x_adv[:, :, 0], clips[:, :, 0])
    _, drawn = run(small, clips, labels, frames=2, key_frame="random")
    touched = touched_frames(drawn.x_adv, clips)
    assert (touched.sum(dim=1) == 2).all()
    assert torch.equal(touched, drawn.aux["frames"])


def test_without_noise_frames_that_stay_are_inside_however_large():
    x = (torch.rand(2, 3, 2, 112, 112, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    attack = CombinedPGD(noise=0, flow=1, frames=1, steps=1)
    found = attack.run(Brightness(), x, torch.tensor([0, 1]), generators()[:2])
    assert (touched_frames(found.x_adv, x).sum(dim=1) == 1).all()
    assert attack.threat.contains(found.x_adv, x, found.aux).all()
    still = SparseFrames(1, pure_flow=True)
    assert still.contains(found.x_adv, x, found.aux).all()
    found.x_adv[:, :, 0] += 3e-5 * (found.x_adv[:, :, 0] < 0.5)
    assert not attack.threat.contains(found.x_adv, x, found.aux).any()
    assert not still.contains(found.x_adv, x, found.aux).any()


def test_leaving_early_changes_no_verdict(small, clips, labels):
    verdicts = []
    for early in (True, False):
        _, found = run(small, clips, labels, early_exit=early, keep="fooled", steps=6)
        verdicts.append(small(found.x_adv).argmax(1) == labels)
    assert torch.equal(*verdicts)


def test_what_lies_outside_is_told(clips):
    threat = MovedFrames(8 / 255, 7.0, 2, (0, 1))
    flow = torch.zeros(6, 2, 4, 16, 16)
    assert threat.contains(clips, clips, {"flow": flow}).all()
    assert not threat.contains(clips, clips, {"flow": flow + 1.1}).any()  # farther than allowed
    assert not threat.contains(clips, clips, {"flow": flow + torch.nan}).any()
    late = clips.clone()
    late[:, :, 3] = (late[:, :, 3] + 0.01).clamp(max=1)
    assert not threat.contains(late, clips).any()
    inside = threat.project(torch.rand_like(clips), clips, threat.sample(clips, generators()))
    assert threat.contains(inside, clips).all()
    again = threat.project(inside, clips, threat.sample(clips, generators()))
    assert torch.equal(again, inside)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise": 2}, "noise=2 is not possible"),
        ({"flow": -1}, "flow=-1 is not possible"),
        ({"flow_step_size": -1}, "flow_step_size=-1 is not possible"),
        ({"flow_step_size": 0, "random_start": False}, "leaves every pixel in place"),
        ({"frames": 0}, "frames=0 is not possible"),
        ({"key_frame": "last"}, "choose first or random"),
    ],
)
def test_impossible_settings_are_refused_in_words(settings, words):
    with pytest.raises(AdvvidError, match=words):
        CombinedPGD(**settings)
