"""Known answers of the measures of how much of an attack is seen."""

import numpy as np
import pytest
import torch

from advvid.evaluation.visibility import column_measures, visibility


def test_a_uniform_change_of_one_frame():
    clips = torch.full((1, 3, 4, 16, 16), 0.5)
    changed = clips.clone()
    changed[:, :, 2] += 0.1
    found = visibility(changed, clips)
    assert found["l21"].item() == pytest.approx(0.1, rel=1e-5)
    # On a flat frame SSIM is its luminance term alone.
    expected = 1 - (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    assert found["dssim"].item() == pytest.approx(expected, rel=5e-3)


def test_long_clips_are_compared_a_few_frames_at_a_time(monkeypatch):
    draws = torch.Generator().manual_seed(0)
    clips, changed = (torch.rand(3, 3, 7, 16, 16, generator=draws) for _ in range(2))
    whole = visibility(changed, clips)["dssim"]
    monkeypatch.setattr("advvid.evaluation.visibility.AT_ONCE", 2 * clips[:, :, 0].numel())
    torch.testing.assert_close(visibility(changed, clips)["dssim"], whole)
    assert (whole > 6).all()  # noise is nothing like other noise: each of 7 frames counts


def test_inputs_that_are_no_clips_have_none():
    assert visibility(torch.rand(2, 8, 16), torch.rand(2, 8, 16)) == {}


def test_measures_of_a_column():
    def line(pred, steps, far):
        return {"attacks": {"a": {"pred": pred, "steps": steps, "distance": far, "l21": far, "dssim": 2 * far}}}

    samples = [line(1, 4, 0.02), line(0, 100, 0.5), line(2, 6, 0.04), line(1, 0, 0.0)]
    right = {"clean": np.array([True, True, True, False]), "a": np.array([False, True, False, False])}
    found = column_measures(samples, "a", right)
    assert found["fooling_rate"] == pytest.approx(2 / 3)
    assert found["average_iterations"] == 5
    assert found["average_success_perturbation"] == pytest.approx({"distance": 0.03, "l21": 0.03, "dssim": 0.06})
    assert found["average_absolute_perturbation"] == pytest.approx(
        {"l21": 0.03 * 2 / 3 + 0.1 / 3, "dssim": 0.06 * 2 / 3 + 0.08 / 3}
    )
