"""What tests of analyses share: twelve clips, two networks, and a run folder of one of them."""

import json
from pathlib import Path

import torch
from omegaconf import OmegaConf

from advvid.analyses.base import Context
from advvid.attacks.pgd import PGD
from advvid.config.composed import composed
from advvid.core import checkpoint
from advvid.data.memory_clips import MemoryClips
from advvid.models.build import build_model
from advvid.tasks.classification import Classification

CLASSES = list("abcde")
SHAPE = (3, 4, 16, 16)
N = 12


def configured(*overrides):
    return composed(["model.width=0.25", "name=small", *overrides])


def network(number, *overrides):
    """One of several related networks, whose answers differ from clip to clip."""
    torch.manual_seed(1)
    model = build_model(configured(*overrides).model, len(CLASSES), SHAPE).eval()
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        head = [p for p in model.parameters() if p.ndim == 2][-1]
        head.copy_(4 * torch.randn(head.shape, generator=torch.Generator().manual_seed(1)))
        for weights in model.parameters():
            if number > 1 and weights.ndim > 1:
                weights.add_(0.3 * weights.std() * torch.randn(weights.shape, generator=generator))
    return model


def saved(folder, model, *overrides, classes=CLASSES):
    """Write a run folder as the trainer does, and return its path as text."""
    config = dict(OmegaConf.to_container(configured(*overrides), resolve=False))
    config["choices"] = {"defense": "none", "model": "r3d_tiny"}
    state = {"model": model.state_dict(), "defense": {}, "config": config, "classes": list(classes), "average": None}
    for name in ("last", "best"):
        checkpoint.save(Path(folder) / "checkpoints" / f"{name}.pt", state)
    return str(folder)


def split(model, wrong=(2,)):
    """Clips that lie as bytes, labelled as the model answers but for some."""
    videos = torch.randint(60, 196, (N, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        labels = model(videos.float() / 255).argmax(dim=1)
    for index in wrong:
        labels[index] = (labels[index] + 1) % len(CLASSES)
    return MemoryClips(videos, labels.tolist(), [f"clip{i:02d}" for i in range(N)], frames=SHAPE[1], stride=1)


def context(folder, model, name="strength", attack=None, batch_size=5, clips=None, **changes):
    clips = clips or split(model)
    settings = {
        "name": name,
        "model": model,
        "source": Path(folder) / "own" / "checkpoints" / "last.pt",
        "task": Classification(),
        "split": clips,
        "learning": clips,
        "classes": CLASSES,
        "clip_shape": SHAPE,
        "views": 1,
        "attack": attack or PGD(eps="2/255", steps=3),
        "attack_name": "pgd",
        "seed": 0,
        "device": torch.device("cpu"),
        "run_dir": Path(folder),
        "batch_size": batch_size,
        "config": {"choices": {"defense": "at"}},
    }
    return Context(**settings | changes)


def plain(result):
    """A result as its JSON file has it, without wall-clock times and folder names."""
    result = json.loads(json.dumps(result))
    for model in result["models"]:
        del model["checkpoint"]
        for point in model.get("points", ()):
            del point["seconds"]
    return result
