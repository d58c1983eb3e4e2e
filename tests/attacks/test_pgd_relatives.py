"""MI-FGSM and EOT-PGD: what they share with PGD, and what they add."""

import pytest
import torch
from torch import nn

from advvid.attacks.apgd import APGD
from advvid.attacks.eot_pgd import EOTPGD
from advvid.attacks.expectation import expected_loss
from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.pgd import PGD
from advvid.attacks.temporal_translation import TemporalTranslation
from small_models import Small3D


class Noisy(nn.Module):
    """Adds strong noise before the network, anew at each call."""

    def __init__(self, model, size):
        super().__init__()
        self.model, self.size = model, size

    def forward(self, clips):
        return self.model(clips + self.size * torch.randn_like(clips))


def gens(n=6):
    return [torch.Generator().manual_seed(i) for i in range(n)]


def test_mi_fgsm_agrees_with_torchattacks(small, clips, labels):
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is missing: install the extra peers")
    theirs = torchattacks.MIFGSM(small, eps=8 / 255, alpha=1 / 255, steps=8, decay=0.7)(clips, labels)
    ours = MIFGSM(eps=8 / 255, step_size=1 / 255, steps=8, momentum=0.7, early_exit=False, keep="last")
    # The sign of an accumulated gradient near zero hangs on rounding, and a flipped pixel stays flipped.
    assert ((ours(small, clips, labels) - theirs).abs() <= 1e-6).float().mean() > 0.98


def test_without_momentum_it_is_pgd_from_the_clean_clip(small, clips, labels):
    plain = PGD(eps="8/255", step_size="2/255", steps=4, random_start=False)
    ours = MIFGSM(eps="8/255", step_size="eps/steps", steps=4, momentum=0.0)
    torch.testing.assert_close(ours(small, clips, labels), plain(small, clips, labels), rtol=0, atol=1e-7)


def test_eot_agrees_with_pgd_and_torchattacks_on_a_deterministic_model(small, clips, labels):
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is missing: install the extra peers")
    settings = {"eps": 8 / 255, "steps": 5, "random_start": False}
    ours = EOTPGD(step_size=2 / 255, samples=3, **settings).run(small, clips, labels)
    plain = PGD(step_size=2 / 255, early_exit=False, keep="last", **settings)(small, clips, labels)
    theirs = torchattacks.EOTPGD(small, alpha=2 / 255, eot_iter=3, **settings)(clips, labels)
    torch.testing.assert_close(ours.x_adv, plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.x_adv, theirs, rtol=0, atol=1e-6)
    assert (ours.gradient_calls == 15).all()


@pytest.mark.parametrize("attack", [EOTPGD(steps=4, samples=4), APGD(steps=4, eot=4, early_exit=False)])
def test_draws_of_a_random_model_are_seeded_and_torchs_generator_is_left_alone(attack, clips, labels):
    model = Noisy(Small3D().eval(), 0.3)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    x_adv = []
    for _ in range(2):
        torch.set_rng_state(state)
        x_adv.append(attack.run(model, clips, labels, gens()).x_adv)
    assert torch.equal(*x_adv)


@pytest.mark.parametrize("attack", [EOTPGD(steps=4, samples=4), APGD(steps=4, eot=4)])
def test_the_draws_of_a_clip_do_not_depend_on_its_neighbours(attack, clips, labels):
    model = Noisy(Small3D().eval(), 0.3)
    together = attack.run(model, clips, labels, gens()).x_adv
    for index in (1, 4):
        alone = attack.run(model, clips[index : index + 1], labels[index : index + 1], [gens()[index]]).x_adv
        torch.testing.assert_close(alone[0], together[index], rtol=0, atol=1e-5)


def test_the_averaged_gradient_is_the_mean_of_its_draws(small, clips, labels):
    model = Noisy(small, 0.5)

    def loss(out):
        return nn.functional.cross_entropy(out, labels, reduction="none")

    singles = []
    for sample in range(64):
        torch.manual_seed(sample)
        singles.append(expected_loss(model, clips, loss)[2])
    mean = torch.stack(singles).mean(dim=0)
    before = torch.get_rng_state()
    _, value, averaged = expected_loss(model, clips, loss, seeds=range(6), samples=64)
    assert torch.equal(before, torch.get_rng_state())
    assert value.shape == (6,)

    def cosine(a, b):
        return nn.functional.cosine_similarity(a.flatten(1), b.flatten(1)).mean()

    assert cosine(averaged, mean) > cosine(singles[0], mean) + 0.05


def test_temporal_translation_averages_the_gradients_of_shifted_clips(small, clips, labels):
    attack = TemporalTranslation(shift=1, weights="linear", steps=1, early_exit=False, momentum=0.0)
    result = attack.run(small, clips, labels, gens())
    mean = torch.zeros_like(clips)
    for shift, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
        moved = clips.roll(shift, dims=2).requires_grad_()
        nn.functional.cross_entropy(small(moved), labels, reduction="sum").backward()
        mean += weight * moved.grad.roll(-shift, dims=2)
    expected = (clips + 8 / 255 * mean.sign()).clamp(0, 1)
    assert ((result.x_adv - expected).abs() <= 1e-6).float().mean() > 0.999
    assert (result.gradient_calls == 3).all()


def test_temporal_translation_without_a_shift_is_mi_fgsm(small, clips, labels):
    plain = MIFGSM(steps=4)(small, clips, labels, gens())
    assert torch.equal(TemporalTranslation(steps=4, shift=0)(small, clips, labels, gens()), plain)
    for weights in ("uniform", "linear", "gaussian"):
        kernel = TemporalTranslation(shift=3, weights=weights).kernel()
        assert sum(kernel) == pytest.approx(1)
        assert kernel == kernel[::-1]
        assert max(kernel) == kernel[3]
