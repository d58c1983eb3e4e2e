"""Non-local means and the identity."""

import math

import pytest
import torch

from advvid.purifiers.filters import MeanFilter
from advvid.purifiers.levels import Identity
from advvid.purifiers.non_local_means import NonLocalMeans


def by_loop(frame, strength, patch, search):
    """The formula pixel by pixel."""
    near, reach = patch // 2, search // 2
    side = near + reach
    wide = torch.nn.functional.pad(frame[None], [side] * 4, mode="replicate")[0]

    def around(i, j):
        return wide[:, i - near : i + near + 1, j - near : j + near + 1]

    found = torch.zeros_like(frame)
    for i in range(frame.shape[1]):
        for j in range(frame.shape[2]):
            y, x = i + side, j + side
            weights = 0.0
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    unlike = float((around(y + down, x + right) - around(y, x)).square().mean())
                    weight = math.exp(-unlike / strength**2)
                    found[:, i, j] += weight * wide[:, y + down, x + right]
                    weights += weight
            found[:, i, j] /= weights
    return found


def test_it_is_the_formula():
    clips = torch.rand(1, 3, 1, 6, 7, generator=torch.Generator().manual_seed(1))
    found = NonLocalMeans(0.3, 3, 5)(clips)
    torch.testing.assert_close(found[0, :, 0], by_loop(clips[0, :, 0], 0.3, 3, 5), atol=1e-5, rtol=1e-4)


def test_without_any_strength_nothing_is_alike_and_with_much_everything_is(noise):
    torch.testing.assert_close(NonLocalMeans(0.001)(noise), noise)
    torch.testing.assert_close(NonLocalMeans(10, 3, 5)(noise), MeanFilter(5)(noise), atol=5e-3, rtol=0)


def test_noise_goes_and_edges_stay():
    clean = torch.zeros(1, 3, 1, 20, 20)
    clean[..., 10:] = 1
    noisy = clean + 0.03 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = NonLocalMeans(0.1)(noisy)
    assert (found - clean).square().mean() < (noisy - clean).square().mean() / 4
    assert (found - clean).abs()[..., 9:11].max() < 0.1


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_the_identity_changes_nothing_to_the_bit(value, noise):
    clips = torch.cat([noise, torch.full_like(noise, value)])
    assert torch.equal(Identity()(clips), clips)
