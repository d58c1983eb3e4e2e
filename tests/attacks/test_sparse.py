"""Sparse attack, sparse flickering and DeepSAVA: closed forms, invariants, strength and key frames."""

import dataclasses

import pytest
import torch
from torch import nn
from toy import accuracy, generators, trained

from advvid.attacks.deep_sava import DeepSAVA
from advvid.attacks.keyframe import Proposer
from advvid.attacks.sparse import Sparse
from advvid.attacks.sparse_flickering import SparseFlickering
from advvid.core.errors import AdvvidError
from small_models import LinearModel

SHAPE = (3, 6, 12, 12)


class OneFrameMatters(nn.Module):
    """Two logits; the label's falls with the brightness of one frame, the more the nearer the frame is to ``key``."""

    def __init__(self, key, length, sharpness):
        super().__init__()
        self.weights = torch.exp(-sharpness * (torch.arange(length) - key).abs().float())

    def forward(self, clips):
        score = ((clips - 0.5).mean(dim=(1, 3, 4)) * self.weights).sum(dim=1) * 20
        return torch.stack([1.0 - score, score - 1.0], dim=1)


@pytest.fixture
def linear():
    model = LinearModel(SHAPE).eval()
    clips = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    return model, clips, model(clips).argmax(dim=1)


@pytest.mark.parametrize(
    "attack",
    [
        Sparse(frames=2, steps=5),
        Sparse(key_frame="random", frames=2, steps=5),
        Sparse(key_frame="given", given=[1, 4], steps=5),
        SparseFlickering(key_frame="random", steps=5),
        DeepSAVA(key_frame="first", frames=2, steps=5),
        DeepSAVA(frames=2, steps=5, trials=4, trial_steps=2),
        DeepSAVA(key_frame="brute_force", steps=3),
    ],
    ids=lambda attack: f"{type(attack).__name__}-{attack.key_frame}",
)
def test_other_frames_stay_the_same_bits(attack, linear):
    model, clips, labels = linear
    result = attack.run(model, clips, labels, generators(6))
    frames = result.aux["frames"]
    assert (frames.sum(dim=1) == attack.frames).all()
    same = (result.x_adv == clips).transpose(1, 2).flatten(2).all(dim=2)
    assert same[~frames].all()
    assert not same[frames].all()
    assert attack.threat.contains(result.x_adv, clips, result.aux).all()
    if attack.key_frame == "given":
        assert frames[0].nonzero().flatten().tolist() == [1, 4]
    if attack.key_frame == "random":
        assert len({tuple(row.tolist()) for row in frames}) > 1


def test_noise_moves_every_pixel_against_the_label(linear):
    """On a linear model without a penalty Adam's steps are signed steps of its learning rate: the closed form."""
    model, clips, labels = linear
    sure = model(clips).amax(dim=1) > 4  # while the label is sure, the gradient keeps its length
    assert sure.sum() >= 2
    clips, labels = clips[sure], labels[sure]
    attack = Sparse(weight=0, steps=4, step_size=0.001, early_exit=False)
    result = attack.run(model, clips, labels, generators(len(clips)))
    sign = torch.where(labels == 0, -1.0, 1.0).view(-1, 1, 1, 1, 1) * model.w.detach().sign()
    expected = clips.clone()
    expected[:, :, 0] += 0.004 * sign[:, :, 0]
    torch.testing.assert_close(result.x_adv, expected, atol=2e-5, rtol=0)
    assert (result.gradient_calls == 4).all()


def test_a_growing_weight_ends_at_the_boundary(linear):
    """The nearest change of one frame of a linear model has the length margin / |w|; what is kept is a little longer."""
    model, clips, labels = linear
    held = Sparse(weight=20, growth=0.1, step_size=0.02, early_exit=False).run(model, clips, labels, generators(6))
    lax = Sparse(weight=1, step_size=0.02, early_exit=False).run(model, clips, labels, generators(6))
    far, laxer = (Sparse().threat.distance(result.x_adv, clips) for result in (held, lax))
    assert (model(held.x_adv).argmax(dim=1) != labels).all()
    assert (far <= laxer).all()
    margin = (model(clips)[:, 0] - model(clips)[:, 1]).abs().detach()
    slope = torch.autograd.functional.jacobian(lambda x: model(x)[0, 0] - model(x)[0, 1], clips[:1])[0, :, 0]
    least = margin / slope.norm() / slope.numel() ** 0.5
    assert (far >= least * 0.999).all()
    assert float(far.mean()) < 1.1 * float(least.mean())


def test_a_growing_weight_needs_a_search_that_goes_on():
    with pytest.raises(AdvvidError, match="moves the weight of a search that goes on"):
        Sparse(growth=0.1)
    with pytest.raises(AdvvidError, match="key_frame to first, random or given"):
        Sparse(growth=0.1, early_exit=False, key_frame="bayesian")


def test_a_heavier_penalty_gives_a_smaller_change(linear):
    model, clips, labels = linear
    far = [
        Sparse(weight=w, steps=60, early_exit=False).run(model, clips, labels, generators(6))
        for w in (0.1, 30.0, 3000.0)
    ]
    distances = [Sparse().threat.distance(r.x_adv, clips).mean().item() for r in far]
    assert distances[0] > distances[1] > distances[2]


@pytest.mark.parametrize(
    "attack", [Sparse(steps=40), DeepSAVA(key_frame="first", steps=25), SparseFlickering(steps=25)]
)
def test_early_exit_changes_no_verdict(attack):
    model, clips, labels = trained()
    clips, labels = clips[:12], labels[:12]
    early = attack.run(model, clips, labels, generators(12))
    late = dataclasses.replace(attack, early_exit=False).run(model, clips, labels, generators(12))
    with torch.no_grad():
        assert torch.equal(model(early.x_adv).argmax(1) == labels, model(late.x_adv).argmax(1) == labels)
    assert (early.gradient_calls <= late.gradient_calls).all()
    assert early.gradient_calls.sum() < late.gradient_calls.sum()


def test_the_combination_is_at_least_as_strong_as_its_parts():
    model, clips, labels = trained()
    clips, labels = clips[:30], labels[:30]
    scores = {
        kind: accuracy(
            model, DeepSAVA(key_frame="first", change_by=kind, steps=12)(model, clips, labels, generators(30)), labels
        )
        for kind in ("noise", "flow", "both")
    }
    assert scores["both"] <= min(scores["noise"], scores["flow"])
    assert scores["both"] < 0.8


def test_sparse_noise_beats_sparse_flickering():
    model, clips, labels = trained()
    clips, labels = clips[:20], labels[:20]
    noise, flicker = (accuracy(model, a(model, clips, labels), labels) for a in (Sparse(), SparseFlickering()))
    assert noise < flicker
    assert noise < 0.3


@pytest.mark.parametrize(("measure", "budget"), [("l21", 0.03), ("ssim", 0.05)])
def test_budget_mode_stops_inside_and_projection_is_as_strong(measure, budget):
    model, clips, labels = trained()
    clips, labels = clips[:16], labels[:16]
    attack = DeepSAVA(key_frame="first", measure=measure, budget=budget, steps=20)
    results = {}
    for at_budget in ("stop", "project"):
        chosen = dataclasses.replace(attack, at_budget=at_budget)
        result = chosen.run(model, clips, labels, generators(16))
        assert chosen.threat.contains(result.x_adv, clips, result.aux).all()
        assert chosen.threat.contains(result.x_adv, clips).all()
        results[at_budget] = accuracy(model, result.x_adv, labels), result.gradient_calls.sum()
    assert results["project"][0] <= results["stop"][0]
    assert results["stop"][1] < results["project"][1]


@pytest.mark.parametrize("at_budget", ["stop", "project"])
@pytest.mark.parametrize(
    "attack",
    [
        Sparse(measure="l21", budget=0.002),
        Sparse(measure="ssim", budget=0.001),
        SparseFlickering(measure="l21", budget=0.002),
        DeepSAVA(key_frame="first", measure="l21", budget=0.002),
        DeepSAVA(key_frame="first", change_by="flow", flow_step_size=0.2, budget=0.001),
        DeepSAVA(key_frame="first", noise_start=0.2, budget=0.001),
        DeepSAVA(trials=3, trial_steps=1, budget=0.001),
    ],
    ids=lambda attack: f"{type(attack).__name__}-{attack.measure}",
)
def test_a_budget_below_the_first_step_is_spent_and_not_left_unused(attack, at_budget):
    """One step of Adam goes far beyond each of these budgets: it is cut, never thrown away."""
    model, clips, labels = trained()
    clips, labels = clips[:6], labels[:6]
    attack = dataclasses.replace(attack, at_budget=at_budget, steps=4)
    result = attack.run(model, clips, labels, generators(6))
    with torch.no_grad():
        unfooled = model(result.x_adv).argmax(dim=1) == labels
    far = attack.threat.distance(result.x_adv, clips)
    assert unfooled.any()
    assert (far[unfooled] > 0.9 * attack.budget).all()
    assert attack.threat.contains(result.x_adv, clips, result.aux).all()


def test_the_first_step_of_the_flow_moves_a_tenth_of_a_pixel_at_the_papers_size():
    attack = DeepSAVA(key_frame="first", change_by="flow", steps=1, early_exit=False)
    model = LinearModel((3, 2, 224, 224)).eval()
    clips = torch.rand(1, 3, 2, 224, 224, generator=torch.Generator().manual_seed(0))
    flow = attack.run(model, clips, model(clips).argmax(dim=1), generators(1)).aux["flow"][:, :, 0]
    assert flow.abs().max().item() == pytest.approx(0.112, rel=0.01)


def test_without_early_exit_the_nearest_change_that_fools_is_kept():
    """Late iterates of a search without a penalty go ever farther; the first that fools is the nearest."""
    model, clips, labels = trained()
    clips, labels = clips[:12], labels[:12]
    for attack in (Sparse(weight=0, steps=40), SparseFlickering(weight=0, steps=25, frames=4)):
        early = attack.run(model, clips, labels, generators(12))
        late = dataclasses.replace(attack, early_exit=False).run(model, clips, labels, generators(12))
        with torch.no_grad():
            fooled = model(early.x_adv).argmax(1) != labels
        assert fooled.any()
        near, far = (attack.threat.distance(result.x_adv, clips)[fooled] for result in (late, early))
        assert (near <= far + 1e-6).all()


def test_targets_are_reached():
    model, clips, labels = trained()
    clips, labels = clips[:10], labels[:10]
    targets = (labels + 1) % 5
    result = Sparse(frames=4, steps=60).run(model, clips, labels, generators(10), targets=targets)
    with torch.no_grad():
        assert (model(result.x_adv).argmax(1) == targets).float().mean() > 0.7


def test_bayesian_search_finds_the_planted_frame_with_fewer_gradients():
    pytest.importorskip("bayes_opt")
    length, key = 16, 11
    model = OneFrameMatters(key, length, sharpness=0.35).eval()
    clips = torch.full((2, 3, length, 12, 12), 0.4)
    labels = torch.zeros(2, dtype=torch.int64)
    settings = {"change_by": "noise", "steps": 6, "step_size": 0.02, "early_exit": False}
    brute = DeepSAVA(key_frame="brute_force", **settings).run(model, clips, labels, generators(2))
    bayes = DeepSAVA(trials=7, trial_steps=None, **settings).run(model, clips, labels, generators(2))
    assert brute.aux["frames"].float().argmax(dim=1).tolist() == [key, key]
    assert ((bayes.aux["frames"].float().argmax(dim=1) - key).abs() <= 1).all()
    assert (bayes.gradient_calls * 2 <= brute.gradient_calls).all()
    assert (brute.gradient_calls == length * 6).all()


def test_bayesian_search_counts_its_trials_too():
    pytest.importorskip("bayes_opt")
    model = OneFrameMatters(3, 8, sharpness=1.0).eval()
    clips = torch.full((1, 3, 8, 12, 12), 0.4)
    attack = DeepSAVA(change_by="noise", steps=6, step_size=0.001, trials=5, trial_steps=2)
    result = attack.run(model, clips, torch.zeros(1, dtype=torch.int64), generators(1))
    assert result.gradient_calls.tolist() == [5 * 2 + 6]
    assert result.steps.item() <= 6


@pytest.mark.parametrize("early_exit", [True, False])
@pytest.mark.parametrize("settings", [{"trials": 9}, {"trials": 9, "trial_steps": None}, {"trials": 9, "frames": 2}])
def test_starting_sets_tried_together_give_the_clips_of_one_by_one(settings, early_exit):
    model, clips, labels = trained()
    passes = []
    counted = model.register_forward_hook(lambda *_: passes.append(1))
    found = []
    for together in (1, 2, 10):
        attack = Sparse(
            key_frame="bayesian",
            steps=4,
            early_exit=early_exit,
            queries_per_batch=together,
            **{"trial_steps": 2, **settings},
        )
        passes.clear()
        found.append((attack.run(model, clips[:12], labels[:12], generators(12)), len(passes)))
    counted.remove()
    (one, most), *others = found
    for result, number in others:
        assert torch.equal(one.x_adv, result.x_adv)
        assert torch.equal(one.gradient_calls, result.gradient_calls)
        assert torch.equal(one.aux["frames"], result.aux["frames"])
        assert number < most or "frames" in settings  # both starting sets are the same there


def test_no_set_of_frames_is_proposed_twice():
    pytest.importorskip("bayes_opt")
    for length, count, number in ((5, 1, 5), (5, 2, 10)):
        proposer = Proposer(length, count, 2, torch.Generator().manual_seed(0))
        seen = set()
        for _ in range(number):
            frames = proposer.propose()
            assert len(set(frames)) == count
            assert frames not in seen
            seen.add(frames)
            proposer.learn(frames, float(sum(frames)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_frame": "middle"}, "key_frame='middle'"),
        ({"given": [1]}, "belong together"),
        ({"key_frame": "given", "given": [1, 1]}, "distinct"),
        ({"adversarial": "hinge"}, "adversarial"),
        ({"measure": "l2"}, "measure"),
        ({"budget": -1.0}, "budget"),
        ({"frames": 0}, "frames"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(AdvvidError, match=words):
        Sparse(**settings)


def test_frames_beyond_the_clip_are_refused(linear):
    model, clips, labels = linear
    with pytest.raises(AdvvidError, match="key frame 9 does not exist"):
        Sparse(key_frame="given", given=[9])(model, clips, labels)
    with pytest.raises(AdvvidError, match="searches a clip"):
        DeepSAVA(key_frame="brute_force", frames=20)(model, clips.repeat(1, 1, 7, 1, 1), labels)
