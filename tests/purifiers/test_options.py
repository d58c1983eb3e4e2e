"""What every option of conf/purifier owes the model behind it."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "contracts"))
from test_configs import CONF, composed

from advvid.config.catalogue import option_files
from advvid.config.instantiate import safe_instantiate
from advvid.purifiers.base import Purifier
from advvid.purifiers.comdefend_networks import ComDefendNetworks, save_networks
from advvid.purifiers.levels import Identity

NAMES = list(option_files("purifier"))


@pytest.fixture(scope="module")
def configured():
    return composed(f"purifier=[{','.join(NAMES)}]").purifier


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """What ComDefend needs and a user trains."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("comdefend") / "untrained.pt"
    save_networks(file, ComDefendNetworks(0.1), 1.0, "nothing")
    return str(file)


@pytest.fixture(params=NAMES)
def purifier(request, configured, networks):
    needs = {"comdefend": {"checkpoint": networks}}.get(request.param, {})
    return safe_instantiate(configured[request.param], **needs).eval()


def generators(count):
    return [torch.Generator().manual_seed(i) for i in range(count)]


def test_keeps_shape_and_range(purifier, noise):
    found = purifier(noise, generators(2))
    assert isinstance(purifier, Purifier)
    assert found.shape == noise.shape
    assert found.dtype == noise.dtype
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, noise) == isinstance(purifier, Identity)


def test_one_clip_of_one_frame(purifier, noise):
    assert purifier(noise[:1, :, :1], generators(1)).shape == (1, 3, 1, 16, 24)


def test_neighbours_do_not_matter(purifier, noise):
    both, alone = purifier(noise, generators(2)), purifier(noise[1:], generators(2)[1:])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-6)


def test_only_random_ones_change_from_draw_to_draw(purifier, noise):
    first, same = (purifier(noise, generators(2)) for _ in range(2))
    other = purifier(noise, generators(4)[2:])
    assert torch.equal(first, same)
    assert torch.equal(first, other) != purifier.random


def test_gradients_reach_every_clip_and_values_stay_exact(purifier, noise):
    x = noise.clone().requires_grad_()
    out = purifier(x, generators(2))
    assert torch.equal(out, purifier(noise, generators(2)))
    (out * torch.linspace(0, 1, 24)).sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad.flatten(1) != 0).any(dim=1).all()


def test_the_callers_clips_are_left_as_they_were(purifier, noise):
    copy = noise.clone()
    purifier(noise)
    assert torch.equal(copy, noise)


def test_the_statement_on_gradients_is_true(purifier):
    """A step of the output follows a differentiable purifier's gradient; the other ones need their stand-in."""
    x = (0.3 + 0.4 * torch.rand(1, 3, 2, 12, 12, generator=torch.Generator().manual_seed(8))).double().requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(9)).double()
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(10)).double()
    if not purifier.differentiable:
        (grad,) = torch.autograd.grad((purifier(x, generators(1)) * weight).sum(), x)
        if purifier.surrogate is None:
            torch.testing.assert_close(grad, weight)  # the identity
        else:
            assert not torch.allclose(grad, weight)
        return
    (grad,) = torch.autograd.grad((purifier.double()(x, generators(1)) * weight).sum(), x)
    h = 1e-6
    ends = [(purifier(x.detach() + s * h * direction, generators(1)) * weight).sum() for s in (1, -1)]
    measured = float(ends[0] - ends[1]) / (2 * h)
    assert float((grad * direction).sum()) == pytest.approx(measured, rel=2e-2, abs=1e-3)


def test_every_option_is_described():
    paths = list((CONF / "purifier").glob("*.yaml"))
    assert paths
    for path in paths:
        # Hydra looks for the package in the head of the file alone: below a description it would not be found.
        first, second = path.read_text().splitlines()[:2]
        assert first == f"# @package purifier.{path.stem}"
        assert second.startswith("# ")
        assert 10 < len(second) < 130


def test_several_stand_in_the_order_of_the_command_line():
    assert list(composed("purifier=[jpeg,gaussian_blur]").purifier) == ["jpeg", "gaussian_blur"]
    cfg = composed("purifier=[gaussian_blur,jpeg]", "purifier.jpeg.quality=30")
    assert list(cfg.purifier) == ["gaussian_blur", "jpeg"]
    assert cfg.purifier.jpeg.quality == 30
    assert "purifier" not in composed()
