"""Block matching, the integer DCT, and the defense made of both."""

import numpy as np
import pytest
import torch
from scipy import fft

from advvid.core.errors import AdvvidError
from advvid.purifiers.block_matching import match
from advvid.purifiers.integer_dct import coarsened, transform
from advvid.purifiers.temporal_defense import TemporalDefense


def texture(height=40, width=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator).float()


def moving(frames=5, down=1, right=-1, seed=0):
    """A window that moves over a texture: frame k is frame k - 1 moved by (-down, -right). Clips in [0, 1]."""
    large = texture(70, 80, seed)
    cut = [large[:, 16 + k * down : 48 + k * down, 24 + k * right : 64 + k * right] for k in range(frames)]
    return torch.stack(cut, dim=1)[None] / 255


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -2), (-4, 4), (1, 0)])
def test_a_planted_translation_is_found_exactly(down, right):
    large = texture()
    before = large[:, 4:36, 4:44]
    now = large[:, 4 + down : 36 + down, 4 + right : 44 + right]
    found = match(now[None], before[None, None], patch=8, search=4)
    inner = (slice(1, -1), slice(1, -1))
    assert (found.vectors[0][inner] == torch.tensor([down, right])).all()
    assert (found.differences[0][inner] == 0).all()
    assert torch.equal(found.predicted[0, :, 8:-8, 8:-8], now[:, 8:-8, 8:-8])


def test_matching_is_the_formula():
    """Equation 2 and 3 patch by patch and displacement by displacement."""
    now, before = texture(10, 12, 1), texture(10, 12, 2)
    weights = np.array([299, 587, 114])[:, None, None] / 1000
    own, other = (np.round((f.numpy().astype(float) * weights).sum(axis=0)) for f in (now, before))
    own = np.pad(own, ((0, 2), (0, 0)), mode="edge")
    other = np.pad(other, ((2, 4), (2, 2)), mode="edge")
    found = match(now[None], before[None, None], patch=4, search=2)
    for p in range(3):
        for q in range(3):
            mine = own[4 * p : 4 * p + 4, 4 * q : 4 * q + 4]
            mad = {
                (i, j): np.abs(mine - other[4 * p + 2 + i : 4 * p + 6 + i, 4 * q + 2 + j : 4 * q + 6 + j]).mean()
                for i in range(-2, 3)
                for j in range(-2, 3)
            }
            assert float(found.differences[0, p, q]) == pytest.approx(min(mad.values()))
            assert mad[tuple(found.vectors[0, p, q].tolist())] == pytest.approx(min(mad.values()))


def test_the_better_reference_is_taken_patch_by_patch():
    now = texture()
    left, right = now.clone(), now.clone()
    left[..., 24:] = 0
    right[..., :24] = 0
    found = match(now[None], torch.stack([left, right])[None], patch=8, search=1)
    assert torch.equal(found.predicted[0], now)
    assert (found.chosen[0] == torch.tensor([0, 0, 0, 1, 1, 1])).all()


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_the_transform_is_the_cosine_transform(patch):
    blocks = texture(patch, patch) - texture(patch, patch, 1)
    expected = fft.dctn(blocks.double().numpy(), norm="ortho", axes=(1, 2))
    np.testing.assert_allclose(transform(blocks) / 8, expected, atol=0.4)


@pytest.mark.parametrize("patch", [2, 4, 8, 16, 32])
def test_quantiser_1_returns_the_frame(patch):
    frames = torch.stack([texture(64, 64, seed) - texture(64, 64, seed + 9) for seed in range(4)])
    assert torch.equal(coarsened(frames, patch, 1), frames)
    assert not torch.equal(coarsened(frames, patch, 64), frames)


def test_a_coarse_quantiser_removes_small_changes():
    generator = torch.Generator().manual_seed(4)
    small = torch.randint(-3, 4, (2, 3, 32, 32), generator=generator).float()
    assert (coarsened(small, 8, 512) == 0).float().mean() > 0.95
    large = torch.full((1, 3, 32, 32), 40.0)
    assert (coarsened(large, 8, 512) - large).abs().max() <= 4


@pytest.mark.parametrize("references", ["neighbours", "previous", "reconstructed"])
def test_a_frame_comes_back_with_quantiser_1(references, noise):
    found = TemporalDefense(patch=4, search=2, quantiser=1, references=references)(noise)
    torch.testing.assert_close(found, (noise * 255).round() / 255)


def test_who_knows_the_polluted_frames_gets_them_back():
    clips = moving()
    polluted = torch.tensor([[False, False, True, True, False]])
    attacked = clips.clone()
    attacked[:, :, 2:4] += (
        8 / 255 * torch.sign(torch.randn(1, 3, 2, 32, 40, generator=torch.Generator().manual_seed(5)))
    )
    attacked.clamp_(0, 1)
    found = TemporalDefense().rebuild(attacked, polluted)
    inner = (slice(None), slice(None), slice(None), slice(8, -8), slice(8, -8))
    torch.testing.assert_close(found[inner], clips[inner], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, :, [0, 1, 4]], clips[:, :, [0, 1, 4]])
    all_bad = TemporalDefense().rebuild(attacked, torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(all_bad, (attacked * 255).round() / 255)


def far(found, clips):
    """Return the mean change of each frame away from the border, in levels."""
    return ((found - clips).abs()[0, :, :, 8:-8, 8:-8] * 255).mean(dim=(0, 2, 3))


def test_what_becomes_of_one_polluted_frame():
    clips = moving(down=0, right=0)
    change = 8 / 255 * torch.sign(torch.randn(3, 32, 40, generator=torch.Generator().manual_seed(6)))

    def after(references, frame):
        attacked = clips.clone()
        attacked[0, :, frame] = (attacked[0, :, frame] + change).clamp(0, 1)
        assert far(attacked, clips)[frame] > 6
        return far(TemporalDefense(references=references)(attacked), clips) > 0.5

    assert after("neighbours", 2).tolist() == [False] * 5
    assert after("neighbours", 0).tolist() == [False] * 5
    assert after("previous", 2).tolist() == [False, False, False, True, False]
    assert after("reconstructed", 2).tolist() == [False] * 5
    assert after("reconstructed", 0).tolist() == [True] * 5


def test_clean_clips_suffer_little():
    clips = moving()
    for references in ("neighbours", "previous"):
        assert far(TemporalDefense(references=references)(clips), clips).max() < 1e-3
    # What comes in at the border is coarse, and wanders inwards from frame to frame.
    drift = far(TemporalDefense(references="reconstructed")(clips), clips)
    assert drift[:2].max() < 1e-3
    assert drift.max() < 5


def test_bad_settings_are_refused():
    for wrong in ({"patch": 1}, {"search": -1}, {"quantiser": 0}, {"references": "next"}):
        with pytest.raises(AdvvidError, match=next(iter(wrong))):
            TemporalDefense(**wrong)
