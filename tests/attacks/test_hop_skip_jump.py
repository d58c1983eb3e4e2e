"""HopSkipJump: labels only, near the closed form on a linear model, never more queries than allowed."""

import pytest
import torch
from torch import nn
from toy import generators, trained

from advvid.attacks.ddn import DDN
from advvid.attacks.hop_skip_jump import HopSkipJump
from advvid.attacks.hyperplane import lengths
from advvid.attacks.logits import margin
from small_models import LinearModel

SHAPE = (3, 2, 4, 4)


class AnswersOnly(nn.Module):
    """One for the answer, zero for the rest: nothing more can be read from it, and no gradient."""

    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, clips):
        self.calls += 1
        out = self.model(clips)
        return nn.functional.one_hot(out.argmax(dim=1), out.shape[1]).float()


def test_comes_near_the_boundary_of_a_linear_model():
    model = LinearModel(SHAPE)
    clips = 0.5 + 0.05 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    labels = model(clips).argmax(dim=1)
    result = HopSkipJump(queries=2000).run(AnswersOnly(model), clips, labels, generators(4))
    closest = margin(model(clips), labels) / (2 * model.w.norm())
    assert (model(result.x_adv).argmax(dim=1) != labels).all()
    torch.testing.assert_close(result.aux["norm"], lengths(result.x_adv - clips, "l2"))
    assert (result.aux["norm"] >= closest * 0.999).all()
    assert (result.aux["norm"] <= closest * 1.1).all()


def test_more_queries_find_smaller_changes_and_no_clip_has_more_than_allowed():
    model, clips, labels = (part[:6] if isinstance(part, torch.Tensor) else part for part in trained())
    found = []
    for queries in (20, 300, 1000):
        asked = AnswersOnly(model)
        result = HopSkipJump(queries=queries).run(asked, clips, labels, generators(6))
        assert (result.aux["queries"] <= queries).all()
        assert result.aux["queries"].max() <= asked.calls
        fooled = model(result.x_adv).argmax(dim=1) != labels
        assert torch.equal(fooled, result.aux["norm"].isfinite())
        found.append(result.aux["norm"])
    assert (found[2] <= found[1]).all()
    assert (found[1] <= found[0]).all()
    assert found[2].mean() < 0.5 * found[0].mean()
    assert (found[2] >= 0.9 * DDN().run(model, clips, labels).aux["norm"]).all()


def test_a_budget_returns_the_clean_clip_where_no_change_within_it_was_found():
    model, clips, labels = (part[:6] if isinstance(part, torch.Tensor) else part for part in trained())
    free = HopSkipJump(queries=300).run(model, clips, labels, generators(6))
    eps = float(free.aux["norm"].median())
    held = HopSkipJump(queries=300, eps=eps).run(model, clips, labels, generators(6))
    torch.testing.assert_close(held.aux["norm"], free.aux["norm"])
    small = held.aux["norm"] <= eps
    assert 0 < small.sum() < 6
    assert torch.equal(model(held.x_adv).argmax(dim=1) != labels, small)
    assert torch.equal(held.x_adv[~small], clips[~small])


def test_finds_no_larger_changes_than_foolbox():
    foolbox = pytest.importorskip("foolbox", reason="foolbox is missing: install the extra peers")
    model, clips, labels = (part[:10] if isinstance(part, torch.Tensor) else part for part in trained())
    # It gives up where none of its random starts fools: many of them, and the same in every run.
    start = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(directions=5000, steps=50)
    theirs = foolbox.attacks.HopSkipJumpAttack(init_attack=start, steps=6, max_gradient_eval_steps=10000)
    counted = AnswersOnly(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, found, fooled = theirs(foolbox.PyTorchModel(counted, bounds=(0, 1)), clips, labels, epsilons=None)
    assert fooled.all()
    ours = HopSkipJump(queries=1000).run(model, clips, labels, generators(10))
    assert ours.aux["norm"].median() <= 1.2 * lengths(found - clips, "l2").median()
