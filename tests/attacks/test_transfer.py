"""Transfer: nothing is asked of the target, and a surrogate equal to it gives the white-box attack."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from toy import accuracy, generators, trained

from advvid.attacks.pgd import PGD
from advvid.attacks.transfer import Transfer, untrained
from advvid.config.composed import composed
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.models.build import build_model


class Closed(nn.Module):
    """A target that may not be asked."""

    def forward(self, clips):
        raise AssertionError("the target was asked")


def test_the_targets_own_weights_give_the_white_box_attack():
    model, clips, labels = trained()
    attack = PGD(steps=3)
    own = attack(model, clips, labels, generators(len(clips)))
    moved = Transfer(attack=attack, surrogate=model).run(Closed(), clips, labels, generators(len(clips)))
    assert torch.equal(moved.x_adv, own)
    assert (moved.gradient_calls <= 3).all()


def test_the_surrogate_is_left_as_it_was():
    model, clips, labels = trained()
    surrogate = untrained(5).train()
    before = {k: v.clone() for k, v in surrogate.state_dict().items()}
    Transfer(attack=PGD(steps=2), surrogate=surrogate)(model, clips, labels)
    assert all(torch.equal(before[k], v) for k, v in surrogate.state_dict().items())
    assert all(m.training for m in surrogate.modules())


def test_an_untrained_surrogate_is_weaker_than_the_model_itself():
    model, clips, labels = trained()
    attack = PGD(eps="10/255", steps=5)
    control = Transfer(attack=attack)
    white = accuracy(model, attack(model, clips, labels, generators(len(clips))), labels)
    black = accuracy(model, control(model, clips, labels, generators(len(clips))), labels)
    assert white < black
    assert control.threat.budget == "l-inf 10/255"


def test_a_missing_surrogate_is_told():
    with pytest.raises(AdvvidError, match="does not exist"):
        Transfer(surrogate="no/such/run")
    with pytest.raises(AdvvidError, match="attack='pgd' is not possible"):
        Transfer(attack="pgd")


def test_the_untrained_surrogate_wants_clips_in_colour():
    with pytest.raises(AdvvidError, match="not inputs of shape 1 x 4 x 16 x 16: give"):
        Transfer()(nn.Identity(), torch.rand(1, 1, 4, 16, 16), torch.tensor([0]))


def test_a_runs_checkpoint_is_a_surrogate(tmp_path):
    """A checkpoint as the trainer writes it gives the same clips as its model handed over in Python."""
    cfg = composed(["model.width=0.25", "name=surrogate"])
    shape = (3, 4, 12, 12)
    torch.manual_seed(3)
    network = build_model(cfg.model, 5, shape).eval()
    config = OmegaConf.to_container(cfg, resolve=False)
    path = tmp_path / "checkpoints" / "last.pt"
    checkpoint.save(
        path,
        {"model": network.state_dict(), "defense": {}, "config": config, "classes": list("abcde"), "average": None},
    )
    model, clips, labels = trained()
    attack = PGD(steps=2)
    given = Transfer(attack=attack, surrogate=network)(model, clips[:4], labels[:4], generators(4))
    drawn = torch.get_rng_state()  # an evaluation refuses an attack that moves it
    loaded = Transfer(attack=attack, surrogate=str(tmp_path))(model, clips[:4], labels[:4], generators(4))
    assert torch.equal(given, loaded)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert Transfer(surrogate=str(tmp_path)).notes(5) == (
        f"transfer, the clips are made on {tmp_path}; the scored model is not asked.",
    )
    assert (
        "on an untrained network, a control and Flatten;" in Transfer(surrogate=["untrained", nn.Flatten()]).notes(5)[0]
    )
