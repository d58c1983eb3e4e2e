"""Compression as a purifier: the codec's frames, the identity's gradient."""

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data.round_trip import round_trip
from advvid.purifiers.filters import GaussianBlur
from advvid.purifiers.video_compression import VideoCompression


def test_the_frames_are_those_of_the_codec(noise):
    found = VideoCompression(quality=35)(noise)
    frames = (noise[1] * 255).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().numpy()
    assert torch.equal(
        (found[1] * 255).round().permute(1, 2, 3, 0), torch.tensor(round_trip(frames, "libx264", 35, 250)).float()
    )


def test_less_quality_keeps_less_and_no_loss_only_rounds(noise):
    smooth = GaussianBlur(2.0)(noise)
    for codec, qualities in (("libx264", (10, 28, 45)), ("mpeg4", (1, 6, 31))):
        errors = [float((VideoCompression(codec, q)(smooth) - smooth).square().mean()) for q in qualities]
        assert errors == sorted(errors)
        assert errors[0] < errors[2]
    assert torch.equal(VideoCompression("ffv1")(smooth), (smooth * 255).round() / 255)


def test_the_gradient_is_the_stand_ins(noise):
    x = noise.clone().requires_grad_()
    weight = torch.rand(noise.shape, generator=torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad((VideoCompression(surrogate=GaussianBlur(1.0))(x) * weight).sum(), x)
    (blurred,) = torch.autograd.grad((GaussianBlur(1.0)(x) * weight).sum(), x)
    torch.testing.assert_close(found, blurred)


def test_bad_settings_are_refused_at_once():
    for wrong in ({"codec": "h265"}, {"quality": 99}, {"processes": 0}, {"gop": 0}):
        with pytest.raises(AdvvidError):
            VideoCompression(**wrong)
    assert VideoCompression(processes=1).settings == VideoCompression(processes=2).settings
