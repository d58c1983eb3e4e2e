"""The small video transformer: any clip size, any width, and it learns."""

import pytest
import torch
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.models.swin3d_tiny import Swin3DTiny


@pytest.mark.parametrize("width", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(4, 16, 16), (1, 16, 24), (9, 32, 32)])
def test_clips_of_any_size_have_gradients(width, shape):
    model, x = Swin3DTiny(5, width), torch.rand(2, 3, *shape, requires_grad=True)
    logits = model(x)
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is not None for p in model.parameters())


def test_width_scales_its_weights():
    counts = [sum(p.numel() for p in Swin3DTiny(10, width).parameters()) for width in (0.25, 0.5, 1.0)]
    assert counts == sorted(counts)
    assert counts[2] == 82_870


def test_the_order_of_frames_is_seen_and_learnt():
    torch.manual_seed(0)
    model = Swin3DTiny(2, 0.5)
    ramp = torch.linspace(0, 1, 8)[None, None, :, None, None].expand(1, 3, 8, 16, 16)
    clips, labels = torch.cat([ramp, ramp.flip(2)]), torch.tensor([0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model.eval()(clips).argmax(dim=1).tolist() == [0, 1]


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"num_classes": 3, "width": 0}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError, match="is not possible"):
        Swin3DTiny(**options)
