"""Square: stronger than noise without a gradient, honest about its queries, inside its ball."""

import pytest
import torch
from toy import accuracy, generators, trained

from advvid.attacks.logits import margin
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.square import L2Moves, LinfMoves, Square, bumps, extent, share
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from small_models import LinearModel

CLIP = (3, 4, 12, 12)


class Counting(torch.nn.Module):
    """Counts the clips that it is asked about, and refuses gradients."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, 0

    def forward(self, clips):
        assert not clips.requires_grad
        assert not torch.is_grad_enabled()
        self.asked += len(clips)
        return self.model(clips)


@pytest.mark.parametrize(("norm", "eps"), [("linf", "16/255"), ("l2", 2.5)])
def test_is_clearly_stronger_than_noise_and_uses_no_gradient(norm, eps):
    model, clips, labels = trained()
    counting = Counting(model)
    attack = Square(eps=eps, norm=norm, queries=300)
    result = attack.run(counting, clips, labels, generators(len(clips)))
    noise = RandomNoise(eps=eps, norm=norm)(model, clips, labels)
    assert accuracy(model, result.x_adv, labels) <= accuracy(model, noise, labels) - 0.2
    assert attack.threat.contains(result.x_adv, clips).all()
    assert counting.asked == result.aux["queries"].sum()
    assert result.aux["queries"].max() <= 300
    assert (result.gradient_calls == 0).all()


@pytest.mark.parametrize(("norm", "part"), [("linf", 0.33), ("l2", 0.2)])
def test_approaches_the_worst_case_of_a_linear_model(norm, part):
    model = LinearModel(CLIP)
    # A weight that varies slowly, so that squares can follow it.
    model.w.data = model.w.data.mean(dim=(1, 2), keepdim=True).expand(CLIP).clone()
    clips, eps = torch.full((2, *CLIP), 0.5), 0.1
    labels = torch.tensor([0, 1])
    x_adv = Square(eps=eps, norm=norm, queries=400, early_exit=False)(model, clips, labels, generators(2))
    fall = (margin(model(clips), labels) - margin(model(x_adv), labels)).detach()
    dual = model.w.abs().sum() if norm == "linf" else model.w.norm()
    assert (fall >= part * 2 * eps * dual).all()
    assert (fall <= 2 * eps * dual * 1.0001).all()


def test_early_exit_changes_no_verdict_and_saves_queries():
    model, clips, labels = trained()
    hard, easy = (
        Square(eps="16/255", queries=60, early_exit=e).run(model, clips, labels, generators(len(clips)))
        for e in (False, True)
    )
    assert torch.equal(model(hard.x_adv).argmax(1) != labels, model(easy.x_adv).argmax(1) != labels)
    assert (hard.aux["queries"] == 60).all()
    assert easy.aux["queries"].sum() < 60 * len(clips)


def test_a_wrong_clip_is_returned_after_one_query():
    model, clips, labels = trained()
    result = Square(queries=5).run(model, clips[:3], (labels[:3] + 1) % 5)
    assert result.aux["queries"].tolist() == [1, 1, 1]
    assert torch.equal(result.x_adv, clips[:3])


def test_linf_moves_change_one_cuboid_to_the_ends_of_the_interval():
    x = torch.full((50, *CLIP), 0.5)
    u = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    tried = LinfMoves(0.1, Space()).next(x, x, u, 0.25)
    changed = (tried != x).any(dim=1)
    torch.testing.assert_close((tried - x).abs(), 0.1 * changed[:, None].expand_as(x))
    frames = changed.flatten(2).any(dim=2)
    brief = u[:, 0] < 0.5
    # About a quarter of 4 x 12 x 12, either way: three frames of 7 x 7, or nearly all of one.
    assert changed.flatten(1).sum(dim=1).tolist() == torch.where(brief, 11**2, 3 * 7**2).tolist()
    assert frames.sum(dim=1).tolist() == torch.where(brief, 1, 3).tolist()
    assert len(frames[~brief].unique(dim=0)) == 2  # the first three or the last three
    assert len(frames[brief].unique(dim=0)) == 4
    runs = (frames[:, 1:] != frames[:, :-1]).sum(dim=1)
    assert (runs <= 2).all()  # consecutive frames


def test_l2_moves_keep_the_norm():
    moves, generator = L2Moves(1.0, Space(-10, 10)), torch.Generator().manual_seed(0)
    x = torch.zeros(20, *CLIP)
    best = moves.first(x, torch.rand(20, 3, 12, 12, generator=generator))
    for part in (0.8, 0.1, 0.01):
        best = moves.next(best, x, torch.rand(20, 9, generator=generator), part)
        norms = best.flatten(1).norm(dim=1)
        assert (norms <= 1 + 1e-4).all()
        assert (norms > 0.5).all()


def test_bumps_have_a_positive_and_a_negative_half():
    table = bumps(5)
    assert table.shape == (5, 5)
    assert (table[:, :2] > 0).all()
    assert (table[:, 2:] < 0).all()
    assert table[2].abs().max() == table.abs().max()


def test_squares_shrink_and_ranges_stay_inside():
    parts = [share(step, 5000, 0.8) for step in range(5000)]
    assert parts[0] == 0.8
    assert sorted(parts, reverse=True) == parts
    assert parts[100] == 0.8 / 4  # 200 of 10,000 queries: the third halving comes after it
    assert parts[101] == 0.8 / 8


@pytest.mark.parametrize(("frames", "side"), [(1, 32), (8, 32), (16, 112)])
def test_a_cuboid_holds_its_share_of_the_clip_and_shrinks_in_time_as_in_space(frames, side):
    for part in (0.4, 0.1, 0.02):
        length, edge = extent(part, frames, side, side)
        assert length * edge**2 == pytest.approx(part * frames * side**2, rel=0.3)
        # One frame: the image's square. More: no longer in time than in space, and no shorter, up to a frame.
        assert length == 1 if frames == 1 else abs(length - frames * edge / side) < 1
    assert extent(1e-6, frames, side, side) == (1, 1)
    assert extent(1.0, frames, side, side) == (frames, side - 1)


def test_follows_weights_that_change_sign_from_frame_to_frame():
    """What a detector of motion is like. Squares of a share of a frame, over any range of frames, reached 0.16."""
    shape, eps = (3, 8, 16, 16), 0.1
    model = LinearModel(shape)
    model.w.data = model.w.data.mean(dim=(2, 3), keepdim=True).sign().expand(shape).clone()
    clips, labels = torch.full((4, *shape), 0.5), torch.tensor([0, 1, 0, 1])
    x_adv = Square(eps=eps, queries=300, early_exit=False)(model, clips, labels, generators(4))
    fall = (margin(model(clips), labels) - margin(model(x_adv), labels)).detach()
    assert (fall >= 0.28 * 2 * eps * model.w.abs().sum()).all()


def test_impossible_settings_are_refused_in_words():
    with pytest.raises(AdvvidError, match="p_init=0 is not possible: choose a number above 0 and at most 1"):
        Square(p_init=0)
    with pytest.raises(AdvvidError, match="queries=1 is not possible"):
        Square(queries=1)
