"""A tiny run of any configuration of conf/defense, in one process or in several."""

from __future__ import annotations

import functools
import hashlib
import json

import torch
from omegaconf import OmegaConf
from training_steps import metrics

from advvid.config.catalogue import option_files
from advvid.config.composed import composed
from advvid.core import checkpoint
from advvid.data.memory_clips import MemoryClips
from advvid.defenses.crafted import FORWARD
from advvid.distributed.parallel import Processes
from advvid.distributed.runtime import Runtime
from advvid.experiment.parts import build
from advvid.models.build import build_model
from advvid.tracking.trackers import NoTracker
from advvid.training.prerequisites import Prerequisites
from advvid.training.trainer import Trainer

NAMES = list(option_files("defense"))
CLASSES = list("abc")
# What makes a defense cheap, where it has such a setting.
SMALL = {
    "inner_steps": 1,
    "generator.width": 2,
    "discriminator.width": 2,
    "ape_gan.generator.width": 2,
    "ape_gan.discriminator.width": 2,
    "selector.width": 0.1,
    "ratio": 0.5,
    "attacks.deep_sava.steps": 2,
    "attacks.salt_and_pepper.ratio": 0.05,
    "xi": 1,
    "over_levels": 1,
    "under_levels": 1,
} | {
    f"{place}.{key}": value
    for place in ("classifier_schedule", "generator_schedule", "ape_gan.classifier_schedule")
    for key, value in {"epochs": 1, "batch_size": 8, "checkpoint_minutes": 0}.items()
}


class Passes:
    """Counts the forward-backward passes of a model, as a forward pass is half of one (``advvid.defenses.crafted.FORWARD``).

    Attributes:
        count: passes of the whole model so far, times their clips.
        parts_called: whether anything called a part of the model by itself, which is not counted.
        attacked: whether anything asked for the gradient of the model's inputs.
    """

    def __init__(self, model):
        self.count, self.parts_called, self.attacked, self._depth, self._on = 0.0, False, False, 0, False
        model.register_forward_pre_hook(self._enter)
        model.register_forward_hook(self._leave)
        for part in model.children():
            part.register_forward_pre_hook(self._part)

    def during(self, work):
        """Return ``work``, counted."""

        def counted(*args, **kwargs):
            self._on = True
            try:
                return work(*args, **kwargs)
            finally:
                self._on = False

        return counted

    def _enter(self, model, inputs):
        self._depth += 1
        self.attacked |= self._on and inputs[0].requires_grad

    def _leave(self, model, inputs, out):
        self._depth -= 1
        clips = len(inputs[0])
        self._add(clips)
        if self._on and out.requires_grad:
            out.register_hook(lambda gradient: self._add(clips))

    def _part(self, part, inputs):
        self.parts_called |= self._on and self._depth == 0

    def _add(self, clips):
        self.count += FORWARD * clips if self._on else 0


@functools.cache
def configured(name, *overrides):
    first = composed([f"defense={name}", *overrides])
    small = [
        f"defense.{key}={value}" for key, value in SMALL.items() if OmegaConf.select(first.defense, key) is not None
    ]
    small += ["schedule.epochs=2", "schedule.batch_size=8", "schedule.checkpoint_minutes=0", "attack.steps=1"]
    return composed([f"defense={name}", *small, "model.width=0.25", *overrides])


def split(count, seed, frames):
    """Clips whose brightest colour tells the class."""
    generator = torch.Generator().manual_seed(seed)
    videos = torch.randint(0, 60, (count, 3, frames + 1, 16, 16), generator=generator, dtype=torch.uint8)
    targets = [i % 3 for i in range(count)]
    for video, target in zip(videos, targets, strict=True):
        video[target] += 90
    return MemoryClips(videos, targets, [f"{seed}/{i}" for i in range(count)], frames=frames, stride=1, shift=1)


def run(
    name, folder, *overrides, fabric=None, processes=None, precision="fp32", frames=4, resume=False, dies_after=None
):
    """Train as ``advvid.experiment.run`` does, and return the trainer after its work."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = configured(name, *overrides)
    parts = build(cfg, "pgd")
    fabric = fabric or Runtime(device="cpu", precision=precision).fabric()
    torch.manual_seed(0)
    model = parts.defense.wrap(build_model(cfg.model, len(CLASSES), (3, frames, 16, 16)))
    train_set, val_set = split(16, 0, frames), split(6, 1, frames)
    info = {"classes": CLASSES, "config": {}}
    prerequisites = Prerequisites(
        fabric=fabric,
        run_dir=folder,
        train_set=train_set,
        val_set=val_set,
        attacks=parts.attacks,
        seed=0,
        info=info,
        processes=processes or Processes(),
        resume=resume,
    )
    parts.defense.make_ready(model, prerequisites)
    trainer = Trainer(
        fabric=fabric,
        model=model,
        defense=parts.defense,
        attacks=parts.attacks,
        schedule=parts.schedule,
        run_dir=folder,
        seed=0,
        tracker=NoTracker(),
        info=info,
        workers=0,
        processes=prerequisites.processes,
    )
    trainer.measured = Passes(trainer.model)
    update, left = trainer.measured.during(trainer._update), iter(range(dies_after or 0))

    def dies(*args, **kwargs):
        if dies_after is not None and next(left, None) is None:
            raise KeyboardInterrupt
        return update(*args, **kwargs)

    trainer._update = dies
    trainer.fit(train_set, val_set, resume=resume)
    return trainer


def digest(trainer):
    """Return what has to be the same in every process: weights, and what the defense trains or adapts by itself."""
    seen = hashlib.blake2b()
    for value in trainer.model.state_dict().values():
        seen.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    own = trainer.defense.state_dict()
    critic = (own.get("critic") or {}).get("network", {})
    for name, value in critic.items():
        if "running" in name:
            continue  # the critic is never used on its running statistics
        seen.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    adapted = [own.get("probabilities"), (own.get("adversary") or {}).get("probabilities")]
    seen.update(repr(adapted).encode())
    return seen.hexdigest()


def in_each_process(fabric, processes, folder, names):
    """Train under every defense and leave a note of it; the work of one process of several."""
    for name in names:
        trainer = run(name, folder / name, fabric=fabric, processes=processes)
        buffers = {k: v for k, v in trainer.model.named_buffers() if "batches" in k}
        note = {"digest": digest(trainer), "batches": [int(v.sum()) for v in buffers.values()]}
        note |= {"measured": trainer.measured.count, "parts_called": trainer.measured.parts_called}
        if processes.main:
            saved = checkpoint.load(folder / name / "checkpoints" / "last.pt")
            note |= {"metrics": metrics(folder / name), "clips": saved["meter"]["clips"]}
        (folder / f"{name}.{processes.rank}.json").write_text(json.dumps(note))
        processes.barrier()
