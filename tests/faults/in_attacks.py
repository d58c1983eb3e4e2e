"""Faults of attacks."""

# ruff: noqa: E501  (one fault a line, as a table)

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tests.faults.fault import Fault, Setup
from torch import Tensor, nn

from advvid.attacks.base import AttackResult
from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Problem
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.roa import ROA

Change = Callable[[AttackResult, Tensor, Tensor, nn.Module], Any]


@dataclass(frozen=True, kw_only=True)
class Faulty(PGD):
    """PGD whose result, or whose surroundings, are changed after the search."""

    change: Change

    def _search(self, problem: Problem) -> Any:
        result = super()._search(problem)
        changed = self.change(result, problem.clips, problem.labels, problem.model)
        return changed if isinstance(changed, AttackResult | tuple) else result


@dataclass(frozen=True, kw_only=True)
class OwnRun(PGD):
    """An attack that brings its own ``run``, around all that ``Attack.run`` does."""

    change: Callable[[AttackResult], Any]

    def run(self, model, clips, labels, generators=None, targets=None, task=None):  # type: ignore[no-untyped-def]
        result = super().run(model, clips, labels, generators, targets, task)
        changed = self.change(result)
        return changed if isinstance(changed, AttackResult) else result


@dataclass(frozen=True, kw_only=True)
class Lying(ROA):
    """A patch attack that changes every pixel and says that its patch is the whole clip."""

    def _search(self, problem: Problem) -> AttackResult:
        result = super()._search(problem)
        aux = {name: torch.ones_like(value) for name, value in result.aux.items()}
        return dataclasses.replace(result, x_adv=1 - problem.clips, aux=aux)


def after(change: Change, **settings: Any) -> Callable[[Setup], list[str]]:
    """Return a plant: PGD with a change after its search."""
    return lambda setup: setup.evaluate(Faulty(change=change, **{"eps": "4/255", "steps": 2} | settings))


def result(**wrong: Callable[[AttackResult], Any]) -> Callable[[Setup], list[str]]:
    """Return a plant: PGD of whose result some fields are wrong."""
    return after(lambda found, *_: dataclasses.replace(found, **{k: make(found) for k, make in wrong.items()}))


def _one_pixel(found: AttackResult, value: float) -> Tensor:
    x_adv = found.x_adv.clone()
    x_adv[0, 0, 0, 0, 0] = value
    return x_adv


def _no_gradient(found: AttackResult, clips: Tensor, labels: Tensor, model: nn.Module) -> None:
    with torch.no_grad():
        out = model(clips.requires_grad_()).sum()
    torch.autograd.grad(out, clips)


def _backwards(found: AttackResult, clips: Tensor, labels: Tensor, model: nn.Module) -> AttackResult:
    x = clips.clone().requires_grad_()
    (grad,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), labels), x)
    return dataclasses.replace(found, x_adv=(clips - 4 / 255 * grad.sign()).clamp(0, 1))


def _neighbours(found: AttackResult, clips: Tensor, labels: Tensor, model: nn.Module) -> AttackResult:
    away = (clips - clips.mean(dim=0, keepdim=True)).sign()
    return dataclasses.replace(found, x_adv=(clips + 4 / 255 * away).clamp(0, 1))


def _raise_budget(setup: Setup) -> list[str]:
    attack = Faulty(eps="4/255", steps=2, change=lambda *_: object.__setattr__(attack, "eps", 1.0))
    return setup.evaluate(attack)


def _weight(model: nn.Module) -> Tensor:
    return model.head.weight  # type: ignore[union-attr,return-value]


def _in_place(change: Callable[[nn.Module], Any]) -> Callable[[Setup], list[str]]:
    def spoil(found: AttackResult, clips: Tensor, labels: Tensor, model: nn.Module) -> None:
        with torch.no_grad():
            change(model)

    return after(spoil)


def _set(name: str, value: Any) -> Callable[[Setup], list[str]]:
    return after(lambda *_: getattr(torch, name)(value))


# Tables: a fault is a line.
# fmt: off
STOPPED = [
    ("writes into the clean clips that it was given", after(lambda f, clips, *_: clips.copy_(f.x_adv)), "wrote into the clips"),
    ("writes into the labels that it was given", after(lambda f, c, labels, m: labels.zero_()), "wrote into the clips or labels"),
    ("goes one grey level beyond its budget", after(lambda f, clips, *_: dataclasses.replace(f, x_adv=(f.x_adv + (f.x_adv - clips).sign() / 255).clamp(0, 1))), "left its threat model on clip"),
    ("leaves the range of pixels", result(x_adv=lambda f: _one_pixel(f, 1.002)), "left its threat model on clip clip0"),
    ("returns NaN in one pixel", result(x_adv=lambda f: _one_pixel(f, float("nan"))), "left its threat model on clip clip0"),
    ("mixes up its clips", result(x_adv=lambda f: f.x_adv.flip(0)), "left its threat model"),
    ("returns fewer clips than it was given", result(x_adv=lambda f: f.x_adv[:-1]), "returned 3 clips for the 4"),
    ("drops a frame", result(x_adv=lambda f: f.x_adv[:, :, :-1]), "returned clips of shape"),
    ("returns double precision", result(x_adv=lambda f: f.x_adv.double()), "clips of type float64"),
    ("returns clips on another device", result(x_adv=lambda f: f.x_adv.to("meta")), "clips on meta"),
    ("returns clips that are part of a graph", lambda w: w.evaluate(OwnRun(eps="4/255", steps=2, change=lambda f: dataclasses.replace(f, x_adv=f.x_adv.requires_grad_()))), "part of a graph"),
    ("returns a pair instead of a result", after(lambda f, *_: (f.x_adv, f.steps)), "a tuple instead of an AttackResult"),
    ("returns None for clips", result(x_adv=lambda f: None), "a NoneType instead of clips"),
    ("reports one number of steps for all clips", result(steps=lambda f: f.steps[0]), "returned steps as"),
    ("reports its gradient calls as fractions", result(gradient_calls=lambda f: f.gradient_calls.float()), "returned gradient_calls as float32"),
    ("counts its gradient calls below zero", result(gradient_calls=lambda f: f.gradient_calls - 9), "counts fewer than 0"),
    ("hands back choices of another batch", result(aux=lambda f: {"mask": torch.ones(1, 1)}), "aux['mask'] without one row"),
    ("lies about where its patch is", lambda w: w.evaluate(Lying()), "left its threat model"),
    ("leaves the model in training mode", after(lambda f, c, y, model: model.train()), "in training mode"),
    ("leaves BatchNorm alone in training mode", after(lambda f, c, y, model: model.body[1].train()), "left the model's body.1 in training mode"),
    ("leaves a hook on the model", after(lambda f, c, y, model: model.register_forward_hook(lambda *_: None)), "left a hook"),
    ("replaces the model's forward", after(lambda f, c, y, model: setattr(model, "forward", type(model).forward.__get__(model))), "replaced it or its forward"),
    ("changes the weights", _in_place(lambda model: _weight(model).add_(0.1)), "changed the model's weights or buffers (head.weight)"),
    ("changes the weights behind autograd's back", after(lambda f, c, y, model: _weight(model).data.add_(0.1)), "changed the model's weights or buffers during evaluation"),
    ("moves the BatchNorm statistics", _in_place(lambda model: model.body[1].running_mean.add_(0.1)), "(body.1.running_mean)"),
    ("leaves gradients in the weights", after(lambda f, c, y, model: setattr(_weight(model), "grad", torch.ones_like(_weight(model)))), "left a gradient in head.weight"),
    ("puts another weight in place of one", after(lambda f, c, y, model: model.body[1].register_parameter("weight", nn.Parameter(torch.ones(6), requires_grad=False))), "changed the model's weights or buffers (body.1.weight)"),
    ("draws from the global generator", after(lambda *_: torch.rand(1)), "drew from a global generator"),
    ("seeds the global generator", after(lambda *_: torch.manual_seed(5)), "seeded one"),
    ("switches gradients off", lambda w: w.evaluate(OwnRun(eps="4/255", steps=2, change=lambda f: torch.set_grad_enabled(False))), "changed torch's grad mode"),
    ("changes torch's default type", _set("set_default_dtype", torch.float64), "changed torch's default dtype"),
    ("raises its own budget during the search", _raise_budget, "changed its own eps"),
    ("cuts its clips off from the graph", after(_no_gradient), "mend the attack, which cuts its clips off"),
]

RAISED = [
    ("returns the clips as they are", after(lambda f, clips, *_: dataclasses.replace(f, x_adv=clips.clone())), "exactly as they were"),
    ("descends instead of ascending", after(_backwards), "the attack helps the model"),
    ("searches with a wrong gradient", lambda w: w.evaluate(Faulty(eps="40/255", steps=2, change=_backwards), RandomNoise(eps="40/255")), "the attack helps the model"),
]

OPEN = [
    ("stops too early", lambda w: w.evaluate(PGD(eps="4/255", steps=1)), "a weak search is inside its threat like a strong one: only columns that it is compared with (more steps, square, auto_attack) show it, and the suite quick has such pairs"),
    ("reports fewer gradient calls than it took", result(gradient_calls=lambda f: torch.zeros_like(f.gradient_calls)), "the cost is the attack's own word; no verdict rests on it"),
    ("allows itself more than its name says", lambda w: w.evaluate(PGD(eps="12/255", steps=2)), "a name has no measure: the table prints the budget of the threat set beside the column, which is what was checked"),
    ("looks at its neighbours in the batch", after(_neighbours), "one evaluation makes each batch once; the contract tests, which every attack in conf/attack passes, compare batches of different sizes"),
]

FAULTS = [
    *(Fault(name, "attack", plant, reads) for name, plant, reads in [*STOPPED, *RAISED]),
    *(Fault(name, "attack", plant, why_not=why) for name, plant, why in OPEN),
]
