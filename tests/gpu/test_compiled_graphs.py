"""``runtime.compile=reduce-overhead``, with a stand-in for ``torch.compile``: which passes it is given, and in which mode."""

import sys
from pathlib import Path

import pytest
import torch

from simulated_gpu import SimulatedGpu, same_bits

sys.path.insert(0, str(Path(__file__).parents[1]))
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.schedules import Schedule
from advvid.distributed.compiled import check_graphs, compile_model
from advvid.distributed.runtime import Runtime
from small_models import Small3D
from test_attack_mode import go

RUN = [
    "mode=train",
    "dataset.limit_train=12",
    "dataset.limit_val=4",
    "model.width=0.25",
    "defense=at",
    "defense.inner_steps=2",
    "schedule.epochs=1",
    "schedule.batch_size=4",
    "tracker=none",
]
GRAPHS = "runtime.compile=reduce-overhead"


@pytest.fixture
def compiled(monkeypatch):
    """Return (settings of torch.compile, shapes of the clips that it was called with)."""
    settings, shapes = [], []

    def stand_in(function, **named):
        settings.append(named)
        return lambda clips, *args, **words: shapes.append(tuple(clips.shape)) or function(clips, *args, **words)

    monkeypatch.setattr(torch, "compile", stand_in)
    return settings, shapes


def test_whole_batches_with_gradients_are_recorded_and_nothing_else(compiled):
    settings, shapes = compiled
    model, clips = Small3D().eval(), torch.rand(4, 3, 4, 16, 16)
    plain = model(clips)
    compile_model(model, "reduce-overhead", clips.shape)
    assert settings == [{"mode": "reduce-overhead", "dynamic": False}]
    out = model(clips)
    assert torch.equal(out, plain)
    model(clips[:3])
    with torch.no_grad():
        model(clips)
    assert shapes == [(4, 3, 4, 16, 16)]
    assert torch.autograd.grad(out.sum(), model.head.weight)[0].shape == model.head.weight.shape


def test_a_training_records_its_steps_and_has_the_same_bits(compiled, tmp_path):
    settings, shapes = compiled
    with SimulatedGpu():
        go(tmp_path / "plain", *RUN, "runtime=gpu")
        go(tmp_path / "graphs", *RUN, "runtime=gpu", GRAPHS)
    assert settings == [{"mode": "reduce-overhead", "dynamic": False}]
    assert len(set(shapes)) == 1
    assert len(shapes) >= 3 * 3  # three batches: two steps of the attack and one of the weights each
    states = [checkpoint.load(tmp_path / place / "checkpoints" / "last.pt")["model"] for place in ("plain", "graphs")]
    assert same_bits(*states)


@pytest.mark.parametrize(
    ("mode", "settings", "told"),
    [
        ("eval", {}, "with mode=eval batches shrink as clips are fooled"),
        ("train", {"accumulate": 2}, r"schedule\.accumulate and schedule\.micro_batch add up"),
        ("train", {"micro_batch": 2}, r"schedule\.accumulate and schedule\.micro_batch add up"),
    ],
)
def test_what_has_no_one_shape_is_refused(mode, settings, told):
    check_graphs("reduce-overhead", True, "train_eval", Schedule(batch_size=4, micro_batch=4))
    with pytest.raises(AdvvidError, match=told):
        check_graphs("reduce-overhead", True, mode, Schedule(batch_size=4, **settings))


def test_a_cpu_and_shared_weights_are_refused(tmp_path):
    with pytest.raises(AdvvidError, match="records CUDA graphs, which need a GPU"):
        go(tmp_path / "run", *RUN, GRAPHS)
    with pytest.raises(AdvvidError, match=r"runtime\.compile=reduce-overhead does not go with runtime\.strategy=fsdp"):
        Runtime(device="cpu", devices=2, strategy="fsdp", compile="reduce-overhead")
    with pytest.raises(AdvvidError, match="compile"):
        Runtime(compile="fast")
