"""The next-frame predictor: causal, of any size, and able to learn a motion that copying cannot."""

import pytest
import torch
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.models.next_frame import ConvLSTMCell, NextFramePredictor


def predictor(**options):
    torch.manual_seed(0)
    return NextFramePredictor(**{"channels": 1, "width": 0.125, **options}).eval()


def videos(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2, 1, 5, 16, 16), (1, 3, 1, 16, 16), (1, 1, 2, 13, 18)])
def test_prediction_has_the_clips_shape(shape):
    model = predictor(channels=shape[1])
    assert model(videos(*shape)).shape == shape


def test_a_prediction_uses_the_frames_up_to_its_own_and_no_later_one():
    model = predictor(layers=2)
    clips = videos(1, 1, 5, 16, 16).requires_grad_()
    out = model(clips)
    for t in range(5):
        (gradient,) = torch.autograd.grad(out[:, :, t].sum(), clips, retain_graph=True)
        used = gradient.abs().amax(dim=(0, 1, 3, 4)) > 0
        assert used.tolist() == [s <= t for s in range(5)]


def test_the_cell_is_an_lstm_where_maps_are_single_places():
    torch.manual_seed(0)
    cell, lstm = ConvLSTMCell(6, 4, 1), nn.LSTM(6, 4, batch_first=True)
    # PyTorch's gates come in the order input, forget, cell, output; the cell's in input, forget, output, new.
    order = torch.cat([torch.arange(0, 8), torch.arange(12, 16), torch.arange(8, 12)])
    with torch.no_grad():
        cell.from_input.weight.copy_(lstm.weight_ih_l0[order][..., None, None])
        cell.from_input.bias.copy_((lstm.bias_ih_l0 + lstm.bias_hh_l0)[order])
        cell.from_state.weight.copy_(lstm.weight_hh_l0[order][..., None, None])
    features = videos(3, 7, 6)
    torch.testing.assert_close(cell(features[..., None, None])[..., 0, 0], lstm(features)[0])


def test_weights_survive_a_file(tmp_path):
    model = predictor()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    torch.manual_seed(1)
    again = NextFramePredictor(channels=1, width=0.125, checkpoint=tmp_path / "w.pt").eval()
    clips = videos(1, 1, 3, 16, 16)
    assert torch.equal(model(clips), again(clips))


def test_it_runs_forward_and_backward_in_low_precision():
    model, clips = predictor(), videos(2, 1, 4, 16, 16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        low = model(clips)
    low.float().square().mean().backward()
    assert torch.isfinite(clips.grad).all()
    assert clips.grad.abs().sum() > 0
    with torch.no_grad():
        assert (low - model(clips)).abs().max() < 0.02


@pytest.mark.slow
def test_it_learns_a_motion_that_copying_the_last_frame_misses():
    """A bright square that moves by four pixels per frame, to the left or to the right."""

    def draw(count, seed):
        clips = torch.zeros(count, 1, 6, 16, 32)
        generator = torch.Generator().manual_seed(seed)
        for clip in clips:
            row, left = torch.randint(0, 12, (2,), generator=generator).tolist()
            step = 4 if torch.rand((), generator=generator) < 0.5 else -4
            for t in range(6):
                column = (left + step * t) % 28
                clip[0, t, row : row + 4, column : column + 4] = 1
        return clips[:, :, :-1], clips[:, :, 1:]

    model = predictor(width=0.25).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(200):
        clips, target = draw(16, step)
        optimizer.zero_grad()
        (model(clips) - target).square().mean().backward()
        optimizer.step()
    clips, target = draw(64, 10_000)
    with torch.no_grad():
        error = (model(clips) - target)[:, :, 1:].square().mean()
    copying = (clips - target)[:, :, 1:].square().mean()
    assert error < copying / 2


@pytest.mark.parametrize(
    "options",
    [{"channels": 2}, {"width": 0.001}, {"kernel": 4}, {"layers": 0}, {"views": 2}, {"clip_shape": (5, 1, 8, 8)}],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError):
        NextFramePredictor(**{"channels": None, **options})


def test_clips_of_other_channels_are_refused():
    with pytest.raises(AdvvidError, match=r"set model\.channels"):
        predictor()(videos(1, 3, 2, 16, 16))
    assert predictor(channels=None, clip_shape=(3, 2, 16, 16)).channels == 3
