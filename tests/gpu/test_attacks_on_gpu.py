"""Every attack of conf/attack on a simulated GPU: the bits of the CPU, and no tensor on the wrong device."""

import sys
from pathlib import Path

import pytest
from hydra.utils import instantiate

from simulated_gpu import CUDA, SimulatedGpu, same_bits

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
from test_attacks import IDS, NAMES, shortened
from test_configs import every

from advvid.attacks import fab
from advvid.attacks.search import LOOK_EVERY
from advvid.core.batch import clip_generators


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_gives_the_bits_of_the_cpu(name, small, clips, labels, monkeypatch):
    # Which clips are computed together moves the last bits of FAB's steps: it looks as seldom on the CPU here.
    monkeypatch.setattr(fab, "looks_now", lambda step, device: step % LOOK_EVERY == LOOK_EVERY - 1)
    attack = shortened(instantiate(every("attack")[name], _convert_="all"))
    first = attack.run(small, clips, labels, clip_generators(0, "column", IDS))
    with SimulatedGpu():
        small.to(CUDA)
        second = attack.run(small, clips.to(CUDA), labels.to(CUDA), clip_generators(0, "column", IDS))
        assert attack.threat.contains(second.x_adv, clips.to(CUDA), second.aux).all()
    for field in ("x_adv", "steps", "gradient_calls"):
        assert getattr(second, field).device == CUDA
        assert same_bits(getattr(first, field), getattr(second, field)), field
    assert first.aux.keys() == second.aux.keys()
    for key, value in first.aux.items():
        assert same_bits(value, second.aux[key]), key
        assert second.aux[key].device == CUDA, key
