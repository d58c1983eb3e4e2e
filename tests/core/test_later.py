"""Conditions are read at once, or together within ``later``; the first that does not hold speaks."""

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.core.later import later, numbers, require
from gpu_rules import READS
from simulated_gpu import CUDA, SimulatedGpu


def ask(value, limit=1.0):
    value = torch.as_tensor(value)
    require(value < limit, lambda: [value], lambda figures: f"{figures[0]:g} is not below {limit:g}")


def test_a_condition_is_read_at_once():
    ask(0.5)
    with pytest.raises(AdvvidError, match="2 is not below 1"):
        ask(2.0)


def test_within_later_all_are_read_together_and_the_first_speaks():
    with SimulatedGpu() as gpu:
        with later() as pending:
            for value in (0.5, 3.0, 2.0):
                ask(torch.tensor(value).to(CUDA, non_blocking=True))
            assert not gpu.count()
            with pytest.raises(AdvvidError, match="3 is not below 1"):
                pending.read()
        assert gpu.count(READS) == 1


def test_what_is_left_is_read_at_the_end_and_nothing_waits_afterwards():
    block = later()
    block.__enter__()
    ask(2.0)
    with pytest.raises(AdvvidError, match="2 is not below 1"):
        block.__exit__(None, None, None)
    with pytest.raises(AdvvidError, match="5 is not below 1"):
        ask(5.0)


def test_another_error_goes_before_what_was_not_read():
    def work():
        with later():
            ask(2.0)
            raise KeyError

    with pytest.raises(KeyError):
        work()


def test_sums_are_read_in_one_go():
    with SimulatedGpu() as gpu:
        there = [torch.full((), value, dtype=torch.float64, device=CUDA) for value in (1.5, 2.5)]
        assert numbers([0.5, there[0], 3, there[1], torch.tensor(4)]) == [0.5, 1.5, 3.0, 2.5, 4.0]
        assert gpu.count() == 1
