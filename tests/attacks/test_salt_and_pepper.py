"""Salt-and-pepper: how many pixels, that they are distinct, and how far they go."""

import pytest
import torch

from advvid.attacks.salt_and_pepper import SaltAndPepper
from advvid.core.batch import clip_generators
from advvid.core.errors import AdvvidError
from small_models import LinearModel


@pytest.mark.parametrize(("height", "width", "number"), [(32, 32, 8), (112, 112, 100), (240, 320, 612), (2, 2, 1)])
def test_the_number_scales_with_the_area(height, width, number):
    assert SaltAndPepper().threat.number(height, width) == number


def test_pixels_are_distinct_and_differ_between_frames():
    x = torch.rand(2, 3, 5, 32, 32)
    mask = SaltAndPepper().threat.sample(x, clip_generators(0, "spa", ["a", "b"]))["mask"]
    assert mask.flatten(3).sum(3).eq(8).all()
    assert (mask[:, :, 1:] != mask[:, :, :-1]).flatten(3).any(3).all()


def test_every_place_is_drawn_equally_often():
    x = torch.zeros(1, 3, 4000, 4, 4)
    mask = SaltAndPepper(count=4 * 112**2 / 16).threat.sample(x, clip_generators(0, "spa", ["a"]))["mask"]
    share = mask.float().mean(dim=(0, 1, 2))
    assert (share - 0.25).abs().max() < 0.03


def test_one_pixel_too_many_is_outside():
    x = torch.rand(1, 3, 2, 32, 32)
    threat = SaltAndPepper().threat
    x_adv = x.clone()
    x_adv[:, :, 1, 0, :8] = 0
    assert threat.contains(x_adv, x).all()
    x_adv[:, 0, 1, 5, 5] = 0
    assert not threat.contains(x_adv, x).any()


def test_reaches_the_worst_case_at_its_pixels():
    model = LinearModel((3, 2, 32, 32))
    model.w.data *= 0.01  # or the loss is so near 0 that its gradient rounds to 0
    clips = 0.5 + 0.1 * model.w.detach().sign().expand(2, -1, -1, -1, -1)
    result = SaltAndPepper(early_exit=False).run(model, clips, torch.zeros(2, dtype=torch.int64))
    expected = torch.where(result.aux["mask"], (model.w.detach() < 0).float(), clips)
    torch.testing.assert_close(result.x_adv, expected)


def test_starts_at_black(small, clips, labels):
    result = SaltAndPepper().at_start().run(small, clips, labels)
    assert torch.equal(result.x_adv, torch.where(result.aux["mask"], 0.0, clips))


def test_no_pixel_is_refused():
    with pytest.raises(AdvvidError, match="count=0 is not possible"):
        SaltAndPepper(count=0)
