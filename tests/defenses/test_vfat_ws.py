"""VFAT-WS: moved detail by hand, its step and its loss against a few lines, and what it refuses."""

import pytest
import torch
from torch.nn import functional
from training_steps import random_batch, step

from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.defenses.crafted import Crafted
from advvid.defenses.frequency import Perturb, low_frequencies
from advvid.defenses.vfat_ws import VFATWS
from advvid.tasks.multi_label import MultiLabel

EPS = 8 / 255
ATTACKS = {"pgd": PGD(eps=EPS)}


def test_the_blur_is_a_gaussian_kernel_over_repeated_borders():
    clips = random_batch(0, size=2).inputs
    places = torch.arange(5.0) - 2
    line = torch.exp(-0.5 * (places / 1.1) ** 2)  # 0.3 * ((5 - 1) / 2 - 1) + 0.8
    kernel = torch.outer(line, line) / line.sum() ** 2
    frame = functional.pad(clips[1, 2, 3][None, None], [2] * 4, mode="replicate")
    by_hand = functional.conv2d(frame, kernel[None, None])[0, 0]
    assert torch.allclose(low_frequencies(clips, 5)[1, 2, 3], by_hand, atol=1e-6)


def test_a_clip_that_stands_still_stays_and_one_colour_stays_under_any_shift():
    still = random_batch(0).inputs[:, :, :1].expand(-1, -1, 4, -1, -1)
    assert torch.allclose(Perturb(5, frames=3)(still), still, atol=1e-6)
    assert not torch.allclose(Perturb(5, frames=3, pixels=1)(still), still, atol=0.1)
    grey = torch.full((1, 3, 4, 16, 16), 0.25)
    assert torch.allclose(Perturb(5, frames=1, pixels=2)(grey), grey, atol=1e-6)


@pytest.mark.parametrize("edges", ["wrap", "repeat"])
def test_detail_comes_later_while_what_is_smooth_stays(edges):
    """Detail of frame t is that of t - 1; the first frame's is that of the last (wrap) or its own (repeat)."""
    clips = random_batch(1).inputs
    low = low_frequencies(clips, 5)
    made = Perturb(5, frames=1, edges=edges)(clips) - low
    high = clips - low
    assert torch.allclose(made[:, :, 1:], high[:, :, :-1], atol=1e-6)
    assert torch.allclose(made[:, :, 0], high[:, :, -1 if edges == "wrap" else 0], atol=1e-6)


@pytest.mark.parametrize(("edges", "first"), [("wrap", 15), ("repeat", 0)])
def test_a_shift_in_space_moves_detail_to_the_right_and_down(edges, first):
    clips = random_batch(2).inputs
    low = low_frequencies(clips, 3)
    made, high = Perturb(3, pixels=1, edges=edges)(clips) - low, clips - low
    assert torch.allclose(made[..., 1:, 1:], high[..., :-1, :-1], atol=1e-6)
    assert torch.allclose(made[..., 1:, 0], high[..., :-1, first], atol=1e-6)
    assert torch.allclose(made[..., 0, 1:], high[..., first, :-1], atol=1e-6)


@pytest.mark.parametrize("keep_start", [False, True])
def test_the_change_is_one_projected_step_from_a_uniform_start(keep_start, small):
    defense, batch = VFATWS(keep_start=keep_start, step_factor=0.75), random_batch(0)
    made = defense.prepare(small, batch, ATTACKS, step())
    small.eval()
    for augment, found in zip((defense.weak(), defense.strong()), made.clips.chunk(2), strict=True):
        base = augment(batch.inputs).clamp(0, 1)
        start = defense.craft(small, type(batch)(base, batch.target, batch.ids), PGD(eps=EPS).at_start(), step()).x_adv
        delta = (start - base).requires_grad_()
        functional.cross_entropy(small(base + delta), batch.target).backward()
        moved = (delta.detach() if keep_start else 0) + 0.75 * EPS * delta.grad.sign()
        by_hand = (base + moved.clamp(-EPS, EPS)).clamp(0, 1)
        assert float(((found - by_hand).abs() < 1e-6).float().mean()) > 0.999  # a sign at 0 may turn by rounding
        assert float((found - base).abs().max()) <= EPS + 1e-6
        assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_the_strong_clip_may_take_the_weak_ones_change(small):
    batch = random_batch(0)
    defense = VFATWS(strong_step="weak")
    made = defense.prepare(small, batch, ATTACKS, step())
    bases = [augment(batch.inputs).clamp(0, 1) for augment in (defense.weak(), defense.strong())]
    first, second = (part - base for part, base in zip(made.clips.chunk(2), bases, strict=True))
    inside = (bases[1] > EPS) & (bases[1] < 1 - EPS)
    assert torch.allclose(first[inside], second[inside], atol=1e-6)
    assert float(made.passes) == 1


def test_the_loss_by_hand_and_no_consistency_term_for_equal_answers(small):
    batch = random_batch(0)
    small.eval()
    twice = Crafted(torch.cat([batch.inputs] * 2), batch.target, torch.tensor(2.0))
    loss, logs = VFATWS(consistency=100).fit(small, batch, twice, step())
    assert float(logs["divergence"]) == pytest.approx(0, abs=1e-6)
    assert loss.item() == pytest.approx(functional.cross_entropy(small(batch.inputs), batch.target).item(), abs=1e-4)
    other = random_batch(1).inputs
    pair = Crafted(torch.cat([batch.inputs, other]), batch.target, torch.tensor(2.0))
    weak, strong = small(batch.inputs), small(other)
    label = functional.cross_entropy(weak, batch.target)
    apart = functional.kl_div(strong.log_softmax(1), weak.softmax(1), reduction="batchmean")
    found = VFATWS(consistency=3, labelled="weak").fit(small, batch, pair, step())[0]
    assert found.item() == pytest.approx((label + 3 * apart).item(), abs=1e-5)


def test_consistency_moves_the_answer_for_the_strong_clip_alone():
    logits = torch.randn(4, 5, requires_grad=True)
    batch = random_batch(0, size=2)
    made = Crafted(torch.zeros(4, 1), batch.target, torch.tensor(2.0))
    defense = VFATWS(labelled="weak", consistency=1)
    defense.fit(lambda _: logits, batch, made, step())[0].backward()
    alone = torch.autograd.grad(functional.cross_entropy(logits[:2], batch.target), logits)[0]
    assert torch.allclose(logits.grad[:2], alone[:2])
    assert float(logits.grad[2:].abs().max()) > 0


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: VFATWS(kernel=4), "kernel=4 is not possible"),
        (
            lambda: VFATWS(frames=8).require_shape((3, 8, 32, 32)),
            "defense.frames=8 moves detail out of a clip of 8 frames",
        ),
        (lambda: VFATWS(pixels=40).require_shape((3, 8, 32, 48)), "choose less than 32"),
        (lambda: VFATWS().require_shape((1024, 30)), "moves detail of frames"),
        (lambda: VFATWS(task=MultiLabel()).check(ATTACKS, 1), "distributions over classes"),
        (lambda: VFATWS().check({"a": PGD(), "b": PGD()}, 1), "defense=vfat_ws trains against one"),
    ],
)
def test_impossible_settings_are_refused_in_words(act, words):
    with pytest.raises(AdvvidError, match=words):
        act()
