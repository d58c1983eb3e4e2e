"""The controls of adversarial framing."""

import pytest
import torch

from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.random_framing import RandomFraming
from advvid.core.errors import AdvvidError


class Blind(torch.nn.Module):
    def forward(self, clips):
        raise AssertionError("a control must not ask the model")


@pytest.mark.parametrize("fill", ["random", "black"])
def test_a_control_covers_the_border_of_the_attack_and_asks_nothing(fill):
    clips = torch.rand(3, 3, 4, 32, 32)
    attack = RandomFraming(fill=fill)
    result = attack.run(Blind(), clips, torch.zeros(3, dtype=torch.int64))
    assert attack.control
    changed = (result.x_adv != clips).any(dim=1)
    border = torch.ones(32, 32, dtype=torch.bool)
    border[3:-3, 3:-3] = False
    assert torch.equal(changed, border.expand_as(changed))
    assert FrameBorder(width=10).threat.contains(result.x_adv, clips, result.aux).all()
    assert result.gradient_calls.sum() == 0
    inside = result.x_adv[result.aux["mask"].expand_as(clips)]
    if fill == "black":
        assert (inside == 0).all()
    else:
        quarter = inside.quantile(torch.tensor([0.25, 0.5, 0.75]))
        torch.testing.assert_close(quarter, torch.tensor([0.25, 0.5, 0.75]), atol=0.03, rtol=0)


def test_an_unknown_fill_is_refused():
    with pytest.raises(AdvvidError, match="random or black"):
        RandomFraming(fill="white")
