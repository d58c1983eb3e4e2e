"""Running means over clips."""

import dataclasses

import pytest
import torch

from advvid.training.validation import Meter


def test_what_a_defense_tells_is_a_mean_over_clips():
    meter = Meter()
    logs = {"passes": torch.tensor(6.0), "correct": torch.ones(3, dtype=torch.bool)}
    meter.add(torch.tensor(3.0), logs["correct"], 3, 6.0, {**logs, "divergence": torch.tensor(0.1)})
    before = dataclasses.replace(meter)
    meter.add(torch.tensor(1.0), None, 1, 2.0, {"divergence": torch.tensor(0.5)})
    assert meter.means == {"divergence": pytest.approx((3 * 0.1 + 0.5) / 4)}
    assert before.means == {"divergence": pytest.approx(0.1)}  # a copy that training goes back to keeps its own
    assert Meter(**dataclasses.asdict(meter)).means == meter.means  # as a checkpoint has it


class Two:
    """Two processes that counted the same."""

    def sum(self, numbers):
        return [2 * number for number in numbers]


def test_processes_share_their_means():
    meter = Meter()
    meter.add(torch.tensor(1.0), None, 4, 1.0, {"b": torch.tensor(2.0), "a": torch.tensor(1.0)})
    whole = meter.together(Two())
    assert whole.clips == 8
    assert whole.means == {"a": 1.0, "b": 2.0}
