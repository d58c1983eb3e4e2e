"""A few steps of training under a defense, for exact comparisons."""

from __future__ import annotations

import json

import torch

from advvid.core.batch import Batch
from advvid.core.schedules import Schedule
from advvid.data.memory_clips import MemoryClips
from advvid.defenses.base import Step
from advvid.distributed.runtime import Runtime
from advvid.tracking.trackers import NoTracker
from advvid.training.trainer import Trainer
from small_models import Small3D


def step(epoch=0, epochs=21, iteration=0, iterations=10):
    return Step(epoch, epochs, iteration, iterations, seed=0)


def random_batch(index, size=4):
    generator = torch.Generator().manual_seed(index)
    clips = torch.rand(size, 3, 4, 16, 16, generator=generator)
    return Batch(clips, torch.randint(5, (size,), generator=generator), [f"{index}/{i}" for i in range(size)])


def trained(defense, attacks, steps=3, epoch=0):
    """Return the weights and statistics after some steps, the losses, and the cost of each step."""
    torch.manual_seed(0)
    model = Small3D()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses, passes = [], []
    for index in range(steps):
        model.train()
        loss, logs = defense.objective(model, random_batch(index), attacks, step(epoch=epoch, iteration=index))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        passes.append(float(logs["passes"]))
    return model.state_dict(), losses, passes


def same(first, second):
    """Tell whether two runs agree bit for bit, the cost left aside."""
    return first[1] == second[1] and all(torch.equal(first[0][name], value) for name, value in second[0].items())


def split(count, seed, frames=4):
    generator = torch.Generator().manual_seed(seed)
    videos = torch.randint(0, 60, (count, 3, frames + 1, 16, 16), generator=generator, dtype=torch.uint8)
    targets = torch.randint(3, (count,), generator=generator).tolist()
    for video, target in zip(videos, targets, strict=True):
        video[target] += 60
    return MemoryClips(videos, targets, [f"{seed}/{i}" for i in range(count)], frames=frames, stride=1, shift=1)


def trainer(folder, defense, attacks, precision="fp32", **settings):
    torch.manual_seed(0)
    return Trainer(
        fabric=Runtime(device="cpu", precision=precision).fabric(),
        model=Small3D(3),
        defense=defense,
        attacks=attacks,
        schedule=Schedule(**{"epochs": 2, "batch_size": 8, "checkpoint_minutes": 0.0, **settings}),
        run_dir=folder,
        seed=0,
        tracker=NoTracker(),
        info={"classes": list("abc"), "config": {}},
    )


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "clips_per_s"} for row in rows]
