"""Faults of models, of their weights and of the purifiers before them."""

# ruff: noqa: E501  (one fault a line, as a table)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tests.faults.fault import Fault, Setup
from tests.faults.in_data import Split
from torch import Tensor, nn
from torch.nn import functional as F

from advvid.analyses.base import Analysis, Context, carry_out
from advvid.attacks.flickering_universal import FlickeringUniversal
from advvid.attacks.pgd import PGD
from advvid.attacks.random_noise import RandomNoise
from advvid.core import checkpoint
from advvid.core.batch import Batch
from advvid.data.content import Contents
from advvid.evaluation.columns import Column
from advvid.evaluation.fitting import fit_columns
from advvid.models.weights import load_local_weights
from advvid.purifiers.base import Purifier
from advvid.purifiers.purified import PurifiedModel
from advvid.tasks.classification import Classification
from advvid.tracking.trackers import NoTracker

Answer = Callable[[nn.Module, Tensor], Tensor]


class Around(nn.Module):
    """A sound network with a fault around it."""

    def __init__(self, net: nn.Module, answer: Answer) -> None:
        super().__init__()
        self.net, self.answer, self.calls = net, answer, 0

    def forward(self, clips: Tensor) -> Tensor:
        self.calls += 1
        return self.answer(self.net, clips)


def around(answer: Answer) -> Callable[[Setup], list[str]]:
    """Return a plant: the sound model with another way to answer."""
    return lambda setup: setup.evaluate(model=Around(setup.model, answer))


class Stubborn(nn.Module):
    """A network of which one part stays in training mode, whatever is asked of it."""

    def __init__(self, net: nn.Module, part: nn.Module) -> None:
        super().__init__()
        self.net, self.part = net, part

    def train(self, mode: bool = True) -> Stubborn:
        super().train(mode)
        self.part.training = True
        return self

    def forward(self, clips: Tensor) -> Tensor:
        return self.net(self.part(clips))


class FreshStatistics(nn.Module):
    """A BatchNorm that always normalises by its batch, and moves its statistics."""

    def __init__(self, net: nn.Module, keep: bool) -> None:
        super().__init__()
        self.net, self.norm = net, nn.BatchNorm3d(3, track_running_stats=keep)

    def forward(self, clips: Tensor) -> Tensor:
        norm = self.norm
        return self.net(F.batch_norm(clips, norm.running_mean, norm.running_var, training=True))


class Counting(nn.Module):
    """A network that counts its calls in a buffer."""

    calls: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, clips: Tensor) -> Tensor:
        self.calls += 1
        return self.net(clips)


class Tired(nn.Module):
    """A network that answers otherwise after many calls."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, clips: Tensor) -> Tensor:
        self.calls += 1
        out = self.net(clips)
        return out if self.calls < 16 else out.roll(1, dims=1)


class Broken(Purifier):
    """A purifier with a fault."""

    def __init__(self, work: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.work = work

    def purify(self, clips: Tensor, generators: object) -> Tensor:
        return self.work(clips)


def _on_first(value: float) -> Answer:
    """Put a value into the logits of the clip that is called clip0."""
    first = Setup(Path()).clips[0]
    return lambda net, x: torch.where((x - first).abs().flatten(1).amax(dim=1)[:, None] < 1e-6, value, net(x))


def _off_grid(net: nn.Module, x: Tensor) -> Tensor:
    known = Setup(Path()).clips
    near = torch.stack([(x - clip).abs().flatten(1).amax(dim=1) for clip in known]).amin(dim=0)
    return torch.where(near[:, None] > 1e-6, torch.nan, net(x))


def _purified(work: Callable[[Tensor], Tensor]) -> Callable[[Setup], list[str]]:
    return lambda setup: setup.evaluate(model=PurifiedModel([Broken(work)], setup.model))


def _spoilt(setup: Setup, value: float, name: str) -> dict[str, Tensor]:
    state = checkpoint.clone(setup.model.state_dict())
    state[name].view(-1)[0] = value
    return state


def _load(setup: Setup) -> list[str]:
    checkpoint.load_model(setup.model, _spoilt(setup, float("nan"), "head.weight"), Path("run/checkpoints/last.pt"))
    return setup.evaluate()


def _load_elsewhere(setup: Setup) -> list[str]:
    file = setup.folder / "weights.pt"
    torch.save(_spoilt(setup, float("inf"), "body.1.running_var"), file)
    load_local_weights(setup.model, file)
    return setup.evaluate()


def _defense(setup: Setup) -> list[str]:
    file = setup.folder / "last.pt"
    checkpoint.save(file, {"model": {}, "defense": {"critic": _spoilt(setup, float("nan"), "head.weight")}})
    checkpoint.load(file)
    return []


def _learned_from(setup: Setup) -> list[str]:
    column = Column("flicker", FlickeringUniversal(steps=3))
    batch = Batch(setup.clips, setup.labels, setup.ids)
    model = Around(setup.model, _off_grid)
    clips = Contents(setup.ids, setup.ids)
    fit_columns([column], model.eval(), lambda: [batch], lambda: clips, Classification(), 0, setup.folder)
    return []


class Looks(Analysis):
    """An analysis that asks the model about every batch."""

    def run(self, context: Context) -> dict[str, object]:
        return {"n": sum(len(context.model(batch.inputs)) for batch in context.batches())}


def _analysed(setup: Setup) -> list[str]:
    data = Split(setup, {})
    first = (data.clips[0].float() / 255)[None]
    model = Around(
        setup.model, lambda net, x: torch.where((x == first).flatten(1).all(dim=1)[:, None], torch.nan, net(x))
    )
    context = Context(
        name="looks",
        model=model.eval(),
        source=setup.folder,
        task=Classification(),
        split=data,
        learning=data,
        classes=list("abcd"),
        clip_shape=(3, 4, 8, 8),
        views=1,
        attack=PGD(),
        attack_name="pgd",
        seed=0,
        device=torch.device("cpu"),
        run_dir=setup.folder,
        batch_size=4,
    )
    carry_out(Looks(), context, NoTracker())
    return []


def _trained_on_test(setup: Setup) -> list[str]:
    optimizer = torch.optim.SGD(setup.model.parameters(), lr=1e-3)
    for _ in range(5):
        F.cross_entropy(setup.model(setup.clips), setup.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return setup.evaluate()


def _remembers(setup: Setup) -> list[str]:
    known = setup.clips.flatten(1)

    def answer(net: nn.Module, x: Tensor) -> Tensor:
        nearest = torch.cdist(x.flatten(1), known).argmin(dim=1)
        return 10 * net(setup.clips[nearest]) + net(x)

    return setup.evaluate(model=Around(setup.model, answer))


def _cluster(net: nn.Module, x: Tensor) -> Tensor:
    return net(x - x.mean(dim=0, keepdim=True))


FAULTS = [
    Fault("puts out NaN for one clip", "model", around(_on_first(float("nan"))), "output is NaN on clip clip0"),
    Fault(
        "puts out infinity for one clip", "model", around(_on_first(float("inf"))), "output is infinite on clip clip0"
    ),
    Fault(
        "puts out NaN for any clip but the clean ones", "model", around(_off_grid), "while column column0 attacked clip"
    ),
    Fault(
        "puts out NaN for noisy clips alone",
        "model",
        lambda w: w.evaluate(RandomNoise(), model=Around(w.model, _off_grid)),
        "output is NaN on clip clip0 ",
    ),
    Fault("has NaN in a checkpoint", "weights", _load, "holds NaN or infinity in head.weight"),
    Fault(
        "has infinity in a file of weights", "weights", _load_elsewhere, "holds NaN or infinity in body.1.running_var"
    ),
    Fault("has NaN in a defense's own network", "weights", _defense, "holds NaN or infinity in critic.head.weight"),
    Fault(
        "puts out NaN while an attack learns",
        "model",
        _learned_from,
        "while column flicker learned on the batch from clip clip0",
    ),
    Fault("puts out NaN in an analysis", "model", _analysed, "output is NaN on clip clip0"),
    Fault(
        "detaches its clips", "model", around(lambda net, x: net(x.detach())), "no gradient with respect to its clips"
    ),
    Fault(
        "keeps a BatchNorm in training mode",
        "model",
        lambda w: w.evaluate(model=Stubborn(w.model, nn.BatchNorm3d(3))),
        "BatchNorm part works in training mode",
    ),
    Fault(
        "keeps dropout on",
        "model",
        lambda w: w.evaluate(model=Stubborn(w.model, nn.Dropout(0.1))),
        "part (Dropout) is in training mode",
    ),
    Fault(
        "normalises by its batch and moves its statistics",
        "model",
        lambda w: w.evaluate(model=FreshStatistics(w.model, True)),
        "BatchNorm norm works in training mode",
    ),
    Fault(
        "normalises by its batch without statistics",
        "model",
        lambda w: w.evaluate(model=FreshStatistics(w.model, False)),
        "norm is a BatchNorm without running statistics",
    ),
    Fault("subtracts the mean of its batch", "model", around(_cluster), "depends on the other clips of its batch"),
    Fault(
        "depends a little on its batch",
        "model",
        around(lambda net, x: net(x) + 30 * x.mean()),
        "a clip's answer depends on its neighbours",
    ),
    Fault(
        "counts its calls in a buffer",
        "model",
        lambda w: w.evaluate(model=Counting(w.model)),
        "changed the model's weights or buffers (calls)",
    ),
    Fault(
        "answers otherwise after many calls",
        "model",
        lambda w: w.evaluate(model=Tired(w.model)),
        "otherwise at the end of the evaluation",
    ),
    Fault(
        "answers at random", "model", around(lambda net, x: net(x + 0.1 * torch.randn_like(x))), "the model is random"
    ),
    Fault("ends in a softmax", "model", around(lambda net, x: net(x).softmax(dim=1)), "the model ends in a softmax"),
    Fault(
        "rounds its clips",
        "model",
        around(lambda net, x: net((x * 16).round() / 16)),
        "gradient attacks have nothing to follow",
    ),
    Fault(
        "gives one row for a whole batch",
        "model",
        around(lambda net, x: net(x).mean(dim=0, keepdim=True)),
        "it owes one row per clip",
    ),
    Fault(
        "gives logits frame by frame",
        "model",
        around(lambda net, x: net(x)[:, :, None].expand(-1, -1, 2)),
        "it owes logits [B, K]",
    ),
    Fault(
        "knows fewer classes than there are labels",
        "model",
        around(lambda net, x: net(x)[:, :1]),
        "but the model knows 1 classes",
    ),
    Fault("gives NaN", "purifier", _purified(lambda x: x * torch.nan), "output is NaN on clip clip0"),
    Fault("changes the number of frames", "purifier", _purified(lambda x: x[:, :, :2]), "returned clips of shape"),
    Fault(
        "draws from the global generator",
        "purifier",
        _purified(lambda x: x + 0.1 * torch.randn_like(x)),
        "the model is random",
    ),
    Fault(
        "is a step function and says that it is smooth",
        "purifier",
        _purified(lambda x: (x * 8).round() / 8),
        "gradient attacks have nothing to follow",
    ),
    Fault(
        "has been trained on the test clips",
        "model",
        _trained_on_test,
        why_not="its answers are those of a good model; keep the test split away from training, as the data sets here do by groups",
    ),
    Fault(
        "answers as it does to the nearest clean clip that it knows",
        "model",
        _remembers,
        why_not="to a white-box attack of a small budget it is a robust model; a column without limits (eps=1), square and transfer unmask it",
    ),
]
