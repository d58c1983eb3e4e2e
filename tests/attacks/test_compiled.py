"""``runtime.compile=true``: attacks on a compiled network, whose batch shrinks as clips are fooled."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from advvid.attacks import PGD
from advvid.core.batch import clip_generators
from advvid.models.classifier import VideoClassifier
from advvid.models.r3d_tiny import R3DTiny

NAMES = [f"clip{i}" for i in range(6)]
BACKENDS = [
    "eager",
    pytest.param("inductor", marks=pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")),
]


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VideoClassifier(R3DTiny(4, 0.25), 4, mean=0.45, std=0.225, clip_shape=(3, 4, 16, 16)).eval()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_graph_serves_every_size_of_batch(network, backend):
    clips = torch.rand(6, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    # Two labels are wrong already, so that their clips leave at once.
    with torch.no_grad():
        labels = network(clips).argmax(dim=1)
    labels[:2] = (labels[:2] + 1) % 4
    attack = PGD(eps="16/255", step_size="2/255", steps=6)
    plain = attack.run(network, clips, labels, clip_generators(0, "pgd", NAMES))
    torch._dynamo.reset()
    counters.clear()
    network.compile(backend=backend, dynamic=True)
    compiled = attack.run(network, clips, labels, clip_generators(0, "pgd", NAMES))
    asked = {len(clips), *(int((plain.steps > step).sum()) for step in range(attack.steps))} - {0}
    assert len(asked) >= 2  # the batch did shrink
    # One more for a single clip, for which PyTorch makes a graph of its own, and one more for clips that lie otherwise.
    assert counters["stats"]["unique_graphs"] <= 3
    assert bool(attack.threat.contains(compiled.x_adv, clips).all())
    assert torch.equal(compiled.steps == 0, plain.steps == 0)
    if backend == "eager":
        assert torch.equal(compiled.x_adv, plain.x_adv)
        assert torch.equal(compiled.steps, plain.steps)
