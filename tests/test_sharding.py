"""Sharded training: what one process would do, by processes that hold a part of the weights each."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from advvid.attacks.pgd import PGD
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.schedules import Schedule
from advvid.data.memory_clips import MemoryClips
from advvid.defenses.at import AT
from advvid.defenses.awp import AWP
from advvid.distributed.parallel import Processes
from advvid.distributed.runtime import Runtime
from advvid.distributed.sharding import groups
from advvid.tracking.trackers import NoTracker
from advvid.training.trainer import Trainer

TWO = Runtime(device="cpu", devices=2, strategy="fsdp", threads=1)


def net():
    """No BatchNorm, whose statistics are those of a process's own clips."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Sequential(nn.Conv3d(6, 7, 3, stride=2), nn.ReLU()),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(7, 3),
    )


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    videos = torch.randint(0, 255, (count, 3, 4, 12, 12), generator=generator, dtype=torch.uint8)
    targets = torch.randint(3, (count,), generator=generator).tolist()
    return MemoryClips(videos, targets, [f"{seed}/{i}" for i in range(count)], frames=4, stride=1, shift=0)


def trainer(fabric, processes, folder, defense=None, **settings):
    settings = {
        "epochs": 2,
        "batch_size": 8,
        "kind": "constant",
        "warmup": 0.0,
        "clip_norm": 1.0,
        "ema": 0.5,
        "optimizer": lambda weights: torch.optim.SGD(weights, lr=0.3, momentum=0.9),
        "checkpoint_minutes": 0.0,
        **settings,
    }
    folder.mkdir(exist_ok=True)
    return Trainer(
        fabric=fabric,
        model=net(),
        defense=defense or AT(inner_steps=2),
        attacks={"pgd": PGD()},
        schedule=Schedule(**settings),
        run_dir=folder,
        seed=0,
        tracker=NoTracker(),
        info={"classes": list("abc"), "config": {}},
        processes=processes or Processes(),
    )


class TooLarge(AT):
    def objective(self, *args):
        raise torch.OutOfMemoryError("CUDA out of memory")


def lines(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("clips_per_s", "budget")} for row in rows]


def in_two(fabric, processes, folder):
    """What each process does for the test below."""
    run = trainer(fabric, processes, folder, batch_size=4)
    weights = list(run.model.parameters())
    assert all(isinstance(weight, DTensor) for weight in weights)
    scored = run.fit(split(16, 0), split(5, 1))  # of three batches of validation clips one process has two
    assert all(type(weight) is nn.Parameter for weight in scored.parameters())
    kept = [weight._local_tensor for weight in (*run.model.parameters(), *run.average.parameters())]
    kept += [state["momentum_buffer"]._local_tensor for state in run.optimizer.state.values()]
    numbers = {"kept": sum(part.numel() for part in kept), "whole": sum(p.numel() for p in scored.parameters())}
    (folder / f"{processes.rank}.json").write_text(json.dumps(numbers))
    torch.save(scored.state_dict(), folder / f"{processes.rank}.pt")
    goes_on(fabric, processes, folder.with_name("cut"), scored)
    refuses(fabric, processes, folder.with_name("refused"))


def goes_on(fabric, processes, folder, whole):
    """A run that is cut off within an epoch ends with the bits of one that is not."""
    cut = trainer(fabric, processes, folder, batch_size=4)
    update, left = cut._update, iter(range(3))

    def dies(*args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return update(*args)

    cut._update = dies
    with pytest.raises(KeyboardInterrupt):
        cut.fit(split(16, 0), split(5, 1))
    processes.barrier()  # the first process writes what both read
    again = trainer(fabric, processes, folder, batch_size=4)
    scored = again.fit(split(16, 0), split(5, 1), resume=True)
    assert again.start_epoch == 1
    for (name, weight), other in zip(whole.state_dict().items(), scored.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name


def refuses(fabric, processes, folder):
    """Gradients that come to the weights past FSDP, and memory that is too little, end a run rather than spoil it."""
    with pytest.raises(AdvvidError, match=r"missed gradients, .* runtime=ddp"):
        trainer(fabric, processes, folder, AWP(inner_steps=1)).fit(split(16, 0), split(5, 1))
    run = trainer(fabric, processes, folder, TooLarge())
    with pytest.raises(AdvvidError, match=r"memory ran out .* schedule\.micro_batch"):
        run.fit(split(16, 0), split(5, 1))
    assert all(isinstance(weight, DTensor) for weight in run.model.parameters())
    assert run.placement.agreed(8 - processes.rank) == 7


def test_two_processes_with_a_part_each_train_as_one(tmp_path):
    TWO.launch(in_two, tmp_path / "two")
    one = trainer(replace(TWO, devices=1, strategy="ddp").fabric(), None, tmp_path / "one")
    scored = one.fit(split(16, 0), split(5, 1))
    start, kept = net().state_dict(), 0
    for rank in (0, 1):
        found = torch.load(tmp_path / "two" / f"{rank}.pt", weights_only=True)
        for name, weight in scored.state_dict().items():
            assert torch.allclose(found[name], weight, atol=2e-5), name
        numbers = json.loads((tmp_path / "two" / f"{rank}.json").read_text())
        assert numbers["kept"] < 0.6 * 3 * numbers["whole"]
        kept += numbers["kept"]
    assert kept == 3 * numbers["whole"]  # weights, momentum and average, nothing of it twice
    assert (scored.state_dict()["0.weight"] - start["0.weight"]).abs().max() > 0.005
    for single, several in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert several == pytest.approx(single, abs=1e-4)
    # The checkpoint is an ordinary one: of whole tensors, with which one process goes on.
    states = [checkpoint.load(tmp_path / folder / "checkpoints" / "last.pt") for folder in ("one", "two")]
    for part in ("model", "average"):
        assert states[0][part].keys() == states[1][part].keys()
        assert all(torch.allclose(states[0][part][k].float(), v.float(), atol=2e-5) for k, v in states[1][part].items())
    for mine, theirs in zip(*(state["optimizer"]["state"].values() for state in states), strict=True):
        assert torch.allclose(mine["momentum_buffer"], theirs["momentum_buffer"], atol=2e-4)


def test_groups_take_every_weight_once_and_the_large_ones_alone():
    model = nn.Sequential(nn.Linear(64, 64), nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 2)]), nn.BatchNorm1d(64))
    assert groups(model) == [model[0], model[1][0]]  # the list is never called; the rest goes with the model
    block = nn.Sequential(*(nn.Linear(20, 20) for _ in range(8)))
    outer = nn.Sequential(nn.Linear(80, 80), block)
    assert groups(outer) == [outer[0], block]  # too small one by one, but not together
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    assert groups(tied) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strategy": "zero"}, "strategy='zero' is not known: choose ddp or fsdp"),
        ({"compile": True}, "runtime.compile=true does not go with runtime.strategy=fsdp"),
        ({"precision": "fp16"}, "runtime.precision=fp16 does not go with runtime.strategy=fsdp"),
    ],
)
def test_what_does_not_go_with_it_is_refused(settings, told):
    with pytest.raises(AdvvidError, match=told):
        Runtime(**{"device": "cpu", "devices": 2, "strategy": "fsdp", **settings})


def test_one_process_has_nobody_to_share_with():
    with pytest.raises(AdvvidError, match="there is one: choose runtime=auto"):
        Runtime(device="cpu", devices=1, strategy="fsdp").launch(print)
