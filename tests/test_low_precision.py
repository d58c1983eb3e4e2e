"""Training in bf16 where the processor gets gradients wrong."""

import pytest
import torch
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.distributed import low_precision


def network():
    return nn.Sequential(
        nn.Conv3d(3, 16, 3, padding=1, stride=(2, 1, 1)), nn.BatchNorm3d(16), nn.Conv3d(16, 16, 3, padding=1)
    )


@pytest.mark.parametrize(("frames", "refused"), [(4, True), (8, False)])
def test_a_convolution_over_two_frames_is_found(monkeypatch, frames, refused):
    monkeypatch.setattr(low_precision, "two_frames_go_wrong", lambda: True)
    model, clip = network().train(), torch.rand(1, 3, frames, 8, 8)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if refused:
        with pytest.raises(AdvvidError, match=r"would train 2 wrongly.*fp32"):
            low_precision.check_training(model, clip)
    else:
        low_precision.check_training(model, clip)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_convolutions_frame_by_frame_are_fine(monkeypatch):
    monkeypatch.setattr(low_precision, "two_frames_go_wrong", lambda: True)
    low_precision.check_training(nn.Conv3d(3, 16, (1, 3, 3)), torch.rand(1, 3, 2, 8, 8))


def test_a_sound_processor_is_not_looked_at_closer(monkeypatch):
    monkeypatch.setattr(low_precision, "two_frames_go_wrong", lambda: False)
    low_precision.check_training(network(), torch.rand(1, 3, 4, 8, 8))
