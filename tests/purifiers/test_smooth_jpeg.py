"""JPEG's stand-in: near the codec itself, and with a gradient that knows what survives it."""

import pytest
import torch
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.core.batch import clip_generators
from advvid.core.errors import AdvvidError
from advvid.purifiers import BitDepth, Jpeg, LowPass, PurifiedModel, SmoothJpeg
from advvid.purifiers.smooth_jpeg import BRIGHTNESS, quantisers


def smooth_clips(side=24):
    noise = torch.rand(2, 3, 2, side, side, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool3d(noise, (1, 5, 5), 1, (0, 2, 2))


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("side", [24, 19])
def test_with_hardly_any_noise_it_is_the_codec(quality, side):
    clips, jpeg = smooth_clips(side), Jpeg(quality)
    codec = jpeg(clips)
    near = (SmoothJpeg(0.01)(clips, jpeg) - codec).abs().mean()
    assert near < 0.35 * (clips - codec).abs().mean()


def test_quantisers_are_those_of_libjpeg():
    assert quantisers(BRIGHTNESS, 50).tolist() == [list(map(float, row)) for row in BRIGHTNESS]
    assert quantisers(BRIGHTNESS, 100).unique().tolist() == [1]
    assert quantisers(BRIGHTNESS, 10)[0, 0] == 80


def test_values_stay_the_codecs_and_every_clip_has_a_gradient():
    clips = smooth_clips(19).requires_grad_()
    found = Jpeg(surrogate=SmoothJpeg())(clips)
    assert torch.equal(found, Jpeg()(clips.detach()))
    found.square().sum().backward()
    assert clips.grad.isfinite().all()
    assert (clips.grad.flatten(1) != 0).any(dim=1).all()


def test_it_stands_for_jpeg_alone_and_shares_its_quality():
    with pytest.raises(AdvvidError, match="cannot stand in for BitDepth"):
        BitDepth(surrogate=SmoothJpeg())
    clips = smooth_clips()
    assert not torch.equal(SmoothJpeg()(clips, Jpeg(10)), SmoothJpeg()(clips, Jpeg(90)))


def test_an_attack_through_it_does_more_than_straight_through_or_through_a_blur():
    """On a linear network, where the gradient behind the codec is known, and the codec alone is in the way."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 24 * 24, 2))
    clips = (smooth_clips().repeat(8, 1, 1, 1, 1) + 0.02 * torch.randn(16, 3, 2, 24, 24)).clamp(0, 1)
    attack, ids = PGD(eps="4/255", steps=10, early_exit=False, keep="last"), [str(i) for i in range(16)]
    rise = {}
    for name, stand_in in {"identity": None, "blur": LowPass(2.0), "smooth": SmoothJpeg()}.items():
        system = PurifiedModel([Jpeg(surrogate=stand_in)], net).eval()
        with torch.no_grad():
            labels = system(clips).argmax(dim=1)
        found = attack.run(system.view(1), clips, labels, clip_generators(0, "t", ids)).x_adv
        with torch.no_grad():
            before, after = (nn.functional.cross_entropy(system(x), labels).item() for x in (clips, found))
        rise[name] = after - before
    assert rise["smooth"] > 2 * max(rise["identity"], rise["blur"])
