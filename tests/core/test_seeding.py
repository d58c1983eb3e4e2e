"""The global generators are seeded as ``torch.manual_seed`` does it, without the stack of calls that it keeps each time."""

import pytest
import torch

from advvid.core.seeding import seed_global
from simulated_gpu import SimulatedGpu


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_numbers_are_those_of_manual_seed_and_nothing_piles_up(seed):
    before = torch.get_rng_state()
    try:
        torch.manual_seed(seed)
        expected, queued = torch.rand(5), len(torch.cuda._queued_calls)
        torch.rand(3)
        seed_global(seed, torch.device("cpu"))
        assert torch.equal(torch.rand(5), expected)
        assert len(torch.cuda._queued_calls) == queued
    finally:
        torch.set_rng_state(before)


def test_on_a_gpu_its_generators_are_seeded_too(monkeypatch):
    seeds, before = [], torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with SimulatedGpu():
        seed_global(5, torch.device("cuda"))
    torch.set_rng_state(before)
    assert seeds == [5]
