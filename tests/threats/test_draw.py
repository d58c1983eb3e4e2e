"""Random numbers are drawn where the clips lie, and a clip's depend on its generator alone."""

import torch

from advvid.core.batch import clip_generators
from advvid.threats.base import draw
from simulated_gpu import CUDA, SimulatedGpu, on_host


def drawn(ids, device, times=1):
    generators = clip_generators(0, "column", ids)
    for _ in range(times):
        found = draw("rand", (3, 2, 4, 4), generators, torch.empty(0, device=device))
    return found


def test_on_a_cpu_the_generators_draw_themselves():
    expected = [torch.rand(3, 2, 4, 4, generator=generator) for generator in clip_generators(0, "column", "ab")]
    assert torch.equal(drawn("ab", "cpu"), torch.stack(expected))


def test_on_a_gpu_it_draws_and_nothing_travels():
    with SimulatedGpu(own_draws=True) as gpu:
        first, alone, again = drawn("abc", CUDA), drawn("b", CUDA), drawn("abc", CUDA)
        later = drawn("abc", CUDA, times=2)
        assert first.device == CUDA
        assert not gpu.count()
    first, alone, again, later = on_host([first, alone, again, later])
    assert torch.equal(first[1:2], alone), "neighbours do not matter"
    assert torch.equal(first, again), "the same generators give the same numbers"
    assert len({value.item() for value in torch.cat([first, later]).flatten()}) > 500, "no numbers come twice"
    assert 0.4 < first.mean() < 0.6
    assert not torch.equal(first, drawn("abc", "cpu"))
