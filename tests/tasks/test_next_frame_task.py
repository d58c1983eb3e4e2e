"""Next-frame prediction as a task: its loss is what it says, nothing is right or wrong, and attacks raise it."""

import pytest
import torch

from advvid.attacks.pgd import PGD
from advvid.models.next_frame import NextFramePredictor
from advvid.tasks.next_frame import NextFrame


@pytest.fixture
def frames():
    return torch.rand(3, 1, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_the_mean_squared_error_of_each_clip(frames):
    off = frames.clone()
    off[1] += 0.2
    off[2, :, 3] -= 0.4
    torch.testing.assert_close(NextFrame().loss(off, frames), torch.tensor([0.0, 0.04, 0.04]))


def test_targets_may_be_bytes(frames):
    target = (frames * 255).round().to(torch.uint8)
    assert NextFrame().loss(frames, target).max() < (0.5 / 255) ** 2
    assert NextFrame().metrics(frames, target)["ssim"] > 0.999


def test_there_is_no_verdict(frames):
    task = NextFrame()
    assert task.correct(frames, frames) is None
    assert task.margin(frames, frames) is None
    assert task.label(frames) == [None] * 3
    assert task.predict(frames).shape == (3,)


def test_metrics_tell_the_last_frame_apart(frames):
    task = NextFrame()
    perfect = task.metrics(frames, frames)
    assert perfect == pytest.approx({"mse": 0, "ssim": 1, "mse_last": 0, "ssim_last": 1})
    off = frames.clone()
    off[:, :, -1] = 1 - off[:, :, -1]
    found = task.metrics(off, frames)
    assert found["mse_last"] == pytest.approx(4 * found["mse"])
    assert found["mse_last"] == pytest.approx(((1 - 2 * frames[:, :, -1]) ** 2).mean().item())
    assert found["ssim_last"] < 0 < found["ssim"] < 1
    assert task.metrics(frames[:0], frames[:0]) == {}


def test_metrics_do_not_depend_on_how_clips_are_grouped():
    outs, targets = torch.rand(2, 70, 1, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    whole = NextFrame().metrics(outs, targets)
    parts = [NextFrame().metrics(outs[i : i + 35], targets[i : i + 35]) for i in (0, 35)]
    assert whole["ssim"] == pytest.approx((parts[0]["ssim"] + parts[1]["ssim"]) / 2, rel=1e-4)


def test_pgd_raises_the_error_within_its_budget(frames):
    torch.manual_seed(0)
    model = NextFramePredictor(1, width=0.125).eval()
    target = frames.roll(1, dims=2)
    attack = PGD(eps="16/255", steps=5, early_exit=True)
    result = attack.run(model, frames, target, task=NextFrame())
    assert attack.threat.contains(result.x_adv, frames).all()
    with torch.no_grad():
        before, after = (NextFrame().loss(model(x), target) for x in (frames, result.x_adv))
    assert (after > before).all()
    assert result.steps.tolist() == [5, 5, 5], "no clip counts as fooled before the end"
