"""NES and V-BAD: the direction of the true gradient from scores alone, within its queries."""

import pytest
import torch
from torch import nn
from toy import accuracy, generators, trained

from advvid.attacks.nes import NES
from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Problem
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.v_bad import VBAD
from advvid.core.errors import AdvvidError
from small_models import LinearModel

SHAPE = (3, 2, 4, 4)


class Counting(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, clips):
        self.calls += 1
        return self.model(clips)


def test_the_estimate_comes_to_the_gradient_of_a_linear_model():
    model = LinearModel(SHAPE)
    clips = 0.5 + 0.05 * torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    labels = model(clips).argmax(dim=1)
    truth = torch.where(labels == 0, -1.0, 1.0).view(-1, 1, 1, 1, 1) * model.w
    near = []
    for pairs in (20, 2000):
        with torch.no_grad():
            estimate = NES()._estimate(Problem(model, clips, labels, generators(2)), clips, pairs)
        near.append(nn.functional.cosine_similarity(estimate.flatten(1), truth.flatten(1)))
    # The cosine of n directions in d dimensions is sqrt(n / (n + d)), here 0.41 and 0.98.
    assert (near[0] > 0.2).all()
    assert (near[1] > 0.95).all()


@pytest.mark.parametrize("queries", [4, 30, 301])
def test_no_clip_has_more_queries_than_allowed(queries):
    model, clips, labels = (part[:6] if isinstance(part, torch.Tensor) else part for part in trained())
    counted = Counting(model)
    result = NES(queries=queries, early_exit=False).run(counted, clips, labels, generators(6))
    assert (result.aux["queries"] == counted.calls).all()
    assert counted.calls <= queries
    assert result.steps.min() >= 1


def test_fools_clips_that_noise_does_not_and_fewer_than_true_gradients_do():
    model, clips, labels = (part[:16] if isinstance(part, torch.Tensor) else part for part in trained())
    eps = "16/255"
    noise = accuracy(model, RandomNoise(eps=eps)(model, clips, labels, generators(16)), labels)
    result = NES(eps=eps, queries=800).run(model, clips, labels, generators(16))
    best = accuracy(model, PGD(eps=eps)(model, clips, labels, generators(16)), labels)
    assert best <= accuracy(model, result.x_adv, labels) < noise - 0.2
    fooled = model(result.x_adv).argmax(dim=1) != labels
    assert result.aux["queries"][fooled].float().mean() < result.aux["queries"][~fooled].float().mean() or fooled.all()


def test_patches_of_a_trained_surrogate_need_fewer_queries_than_single_values():
    model, clips, labels = (part[:16] if isinstance(part, torch.Tensor) else part for part in trained())
    settings = {"eps": "16/255", "queries": 400}
    plain = NES(**settings).run(model, clips, labels, generators(16))
    random = VBAD(**settings).run(model, clips, labels, generators(16))
    told = VBAD(**settings, surrogate=model, follow="loss").run(model, clips, labels, generators(16))
    rates = [accuracy(model, result.x_adv, labels) for result in (told, random, plain)]
    assert rates[0] <= rates[1]
    assert rates[0] < rates[2] - 0.2
    assert told.aux["queries"].sum() < plain.aux["queries"].sum()


def test_the_signs_within_a_patch_are_kept_or_turned_together():
    model, clips, labels = (part[:2] if isinstance(part, torch.Tensor) else part for part in trained())
    attack = VBAD(patch=56, depth=2)
    assert attack.grid((4, 12, 12)) == (2, 2, 2)
    problem = Problem(model, clips, labels, generators(2))
    with torch.no_grad():
        estimate = attack._estimate(problem, clips, 3)
        signs = attack._tentative(Problem(model, clips, labels, generators(2)), clips)
    weights = (estimate / signs).unfold(2, 2, 2).unfold(3, 6, 6).unfold(4, 6, 6).movedim(1, 4).flatten(4)
    usable = weights.isfinite()
    first = weights.nan_to_num(-torch.inf).amax(dim=4, keepdim=True)
    torch.testing.assert_close(weights[usable], first.expand_as(weights)[usable])


def test_an_untrained_surrogate_follows_no_loss_and_takes_colour_only():
    with pytest.raises(AdvvidError, match="follow=loss needs a surrogate that knows the classes"):
        VBAD(follow="loss")
    with pytest.raises(AdvvidError, match="takes clips in colour"):
        VBAD().require_shape((1, 4, 8, 8))
