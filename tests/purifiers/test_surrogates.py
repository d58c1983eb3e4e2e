"""Stand-ins: what they let through, and what an attacker gains by them."""

import pytest
import torch
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.purifiers.base import Purifier
from advvid.purifiers.comdefend import ComDefend
from advvid.purifiers.comdefend_networks import ComDefendNetworks, save_networks
from advvid.purifiers.integer_dct import coarsened, cosines
from advvid.purifiers.levels import BitDepth
from advvid.purifiers.purified import PurifiedModel
from advvid.purifiers.surrogates import HeldMatch, LowPass, SoftBits, smoothly_coarsened, smoothly_rounded
from advvid.purifiers.temporal_defense import TemporalDefense
from advvid.purifiers.video_compression import VideoCompression


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("comdefend") / "untrained.pt"
    save_networks(file, ComDefendNetworks(0.1), 1.0, "nothing")
    return str(file)


def gradient(purifier, clips, weight):
    x = clips.clone().requires_grad_()
    (purifier(x) * weight).sum().backward()
    return x.grad


@pytest.mark.parametrize(
    ("kind", "settings", "surrogate"),
    [
        (VideoCompression, {}, LowPass()),
        (TemporalDefense, {}, HeldMatch()),
        (TemporalDefense, {"references": "reconstructed", "patch": 5}, HeldMatch(0.3)),
        (TemporalDefense, {"references": "previous"}, HeldMatch(0.3)),
        (ComDefend, {"noise": 0, "patch": 8}, SoftBits()),
    ],
)
def test_values_stay_exact_to_the_bit(noise, networks, kind, settings, surrogate):
    settings = settings | ({"checkpoint": networks} if kind is ComDefend else {})
    clips = noise[..., :21]  # no whole number of patches
    clips = clips[..., :20] if kind is VideoCompression else clips
    bare, stood_in = kind(**settings), kind(**settings, surrogate=surrogate)
    x = clips.clone().requires_grad_()
    found = stood_in(x)
    assert torch.equal(found, bare(clips))
    (grad,) = torch.autograd.grad(found.square().sum(), x)
    assert grad.shape == clips.shape
    assert grad.isfinite().all()
    assert (grad != 0).any()
    assert bare.settings != stood_in.settings


def test_settings_tell_stand_ins_apart(networks):
    pairs = [(VideoCompression, LowPass(1.0), LowPass(2.0)), (TemporalDefense, HeldMatch(0.1), HeldMatch(0.2))]
    for kind, one, other in pairs:
        assert kind(surrogate=one).settings != kind(surrogate=other).settings
    soft = [ComDefend(networks, surrogate=SoftBits(t)).settings for t in (None, 1.0)]
    assert soft[0] != soft[1]


def test_a_low_pass_keeps_what_is_even_and_takes_colour_away(noise):
    even = torch.full((1, 3, 4, 9, 11), 0.3)
    torch.testing.assert_close(LowPass(2.0, 1.0)(even), even)
    found = LowPass(1.5, 0.7)(noise)
    torch.testing.assert_close(found[:, 0], found[:, 2])
    colour = LowPass(0, 0, grey=False)
    assert torch.equal(colour(noise), noise)
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 - 0.5
    assert LowPass(1.0)(board.expand(1, 3, 2, 16, 16))[..., 4:-4, 4:-4].abs().max() < 1e-3
    flicker = (torch.arange(8) % 2 - 0.5).view(1, 1, 8, 1, 1).expand(1, 3, 8, 4, 4)
    assert LowPass(0, 1.0)(flicker)[:, :, 3:5].abs().max() < 0.02


def test_the_gradient_of_a_low_pass_is_its_transpose(noise):
    """<L x, w> = <x, L' w>, for a map that is linear."""
    low = LowPass(1.2, 0.8)
    weight = torch.rand(noise.shape, generator=torch.Generator().manual_seed(3))
    grad = gradient(VideoCompression(surrogate=low), noise, weight)
    assert float((grad * noise).sum()) == pytest.approx(float((low(noise) * weight).sum()), rel=1e-5)


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.6, 2.0])
def test_smooth_rounding_is_the_mean_over_noise(spread):
    values = torch.linspace(-3, 3, 41, dtype=torch.float64)
    noise = torch.randn(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * spread
    mean = torch.stack([(value + noise).round().mean() for value in values])
    torch.testing.assert_close(smoothly_rounded(values, spread), mean, atol=0.01, rtol=0)
    x = values.clone().requires_grad_()
    (slope,) = torch.autograd.grad(smoothly_rounded(x, spread).sum(), x)
    h = 1e-5
    measured = (smoothly_rounded(values + h, spread) - smoothly_rounded(values - h, spread)) / (2 * h)
    away = (values - values.round()).abs() < 0.49  # at the jump the two sides start from other whole numbers
    torch.testing.assert_close(slope[away], measured[away], atol=2e-2, rtol=2e-2)


def test_smooth_coarsening_is_its_definition_and_ends_in_the_integer_transform():
    generator = torch.Generator().manual_seed(2)
    frames = torch.randint(-90, 90, (2, 3, 16, 16), generator=generator).double()
    weight = torch.randn(frames.shape, generator=generator, dtype=torch.float64)
    x = frames.clone().requires_grad_()
    (found,) = torch.autograd.grad((smoothly_coarsened(x, 8, 40.0, 0.2) * weight).sum(), x)
    # Patch by patch, with the transform written as one matrix.
    basis = torch.kron(cosines(8), cosines(8))
    slope = torch.empty_like(frames)
    for top in (0, 8):
        for left in (0, 8):
            block = (slice(None), slice(None), slice(top, top + 8), slice(left, left + 8))
            u = (frames[block].flatten(2) @ basis.T / 40).requires_grad_()
            levels = smoothly_rounded(u, 0.2)
            (each,) = torch.autograd.grad(levels.sum(), u)
            slope[block] = ((weight[block].flatten(2) @ basis.T * each) @ basis).unflatten(2, (8, 8))
    torch.testing.assert_close(found, slope)
    # With little noise, and coefficients that are not where the rounding jumps, what comes out is what the defense makes.
    coefficients = (
        torch.randint(-1, 2, (2, 3, 8, 8), generator=generator) + 0.6 * torch.rand(8, 8, generator=generator) - 0.3
    )
    plain = (cosines(8).T @ (40 * coefficients.double()) @ cosines(8)).round()
    sharp = smoothly_coarsened(plain, 8, 40.0, 0.02)
    assert (sharp - coarsened(plain, 8, 320)).abs().max() < 0.6


def test_temporal_defense_hands_the_gradient_to_the_neighbours():
    """A still clip is made of the frame before; what asks for one frame is answered by the other."""
    still = torch.rand(1, 3, 1, 16, 16, generator=torch.Generator().manual_seed(4)).expand(1, 3, 3, 16, 16)
    weight = torch.zeros(still.shape)
    weight[:, :, 1, 8, 8] = 1
    found = gradient(TemporalDefense(references="previous", surrogate=HeldMatch(0.05)), still, weight)
    torch.testing.assert_close(found[:, :, 0], weight[:, :, 1])
    assert found[:, :, 1:].abs().max() < 1e-6
    wide = gradient(TemporalDefense(references="previous", surrogate=HeldMatch(5.0)), still, weight)
    torch.testing.assert_close(wide, weight, atol=1e-4, rtol=0)  # no rounding: the identity


def test_soft_bits_are_the_networks_without_the_step(networks, noise):
    purifier = ComDefend(networks, noise=0, patch=None, surrogate=SoftBits(2.0))
    weight = torch.randn(noise.shape, generator=torch.Generator().manual_seed(5))
    found = gradient(purifier, noise, weight)
    x = noise.transpose(1, 2).flatten(0, 1).requires_grad_()
    code = purifier.networks.code(x)
    bits = (code > 0).float().requires_grad_()
    target = weight.transpose(1, 2).flatten(0, 1)
    (at_bits,) = torch.autograd.grad((purifier.networks.picture(bits) * target).sum(), bits)
    soft = torch.sigmoid(code / 2)
    (by_hand,) = torch.autograd.grad(soft, x, at_bits)
    torch.testing.assert_close(found.transpose(1, 2).flatten(0, 1), by_hand)


def test_a_stand_in_for_something_else_is_refused():
    for wrong in (HeldMatch(), SoftBits()):
        with pytest.raises(AdvvidError, match=f"{type(wrong).__name__} cannot stand in for BitDepth"):
            BitDepth(surrogate=wrong)


class Means(Purifier):
    """Areas of 4 x 4 pixels, each as bright as the mean of its grey levels, in coarse levels: a very poor codec."""

    differentiable = False

    def purify(self, clips, generators):
        small = nn.functional.avg_pool3d(clips.mean(dim=1, keepdim=True), (1, 4, 4))
        return (small * 60).round().div(60).repeat_interleave(4, 3).repeat_interleave(4, 4).expand_as(clips)


def test_an_attack_by_the_right_stand_in_succeeds_where_the_identity_fails():
    """A model whose gradient changes sign from pixel to pixel, more strongly than it leans to one side."""
    shape = (4, 3, 2, 16, 16)
    generator = torch.Generator().manual_seed(6)
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2 - 1).float()
    lean = torch.randn(1, 1, 2, 4, 4, generator=generator).sign().repeat_interleave(4, 3).repeat_interleave(4, 4)
    weight = (board + 0.5 * lean).expand(1, *shape[1:])

    class Leaning(nn.Module):
        def forward(self, clips):
            score = ((clips - 0.5) * weight).flatten(1).sum(dim=1)
            return torch.stack([score + 3, -score - 3], dim=1)

    clips, labels = torch.full(shape, 0.5), torch.zeros(4, dtype=torch.int64)
    left = {}
    for name, surrogate in (("identity", None), ("low pass", LowPass(1.0))):
        system = PurifiedModel([Means(surrogate)], Leaning())
        x_adv = PGD(eps="8/255", steps=10, random_start=False)(system, clips, labels)
        left[name] = (system(x_adv).argmax(dim=1) == labels).float().mean()
    assert left == {"identity": 1, "low pass": 0}
