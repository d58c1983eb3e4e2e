"""(c) A step of adversarial training: ours, the plain loop that anyone would write, and the passes it cannot do without."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advvid.attacks.base import frozen
from advvid.attacks.pgd import PGD
from advvid.config.instantiate import safe_instantiate
from advvid.core.batch import Batch
from advvid.core.schedules import Schedule
from advvid.defenses.at import AT
from advvid.defenses.base import Step
from advvid.distributed.runtime import Runtime
from advvid.tracking.trackers import NoTracker
from advvid.training.trainer import Trainer
from benchmarks.measure import Part, Run, Setup, interleave, matrix_speed, middle, shown, speed_ratio
from benchmarks.networks import CLASSES, SHAPE, TINY, composed, noise, pass_operations, untrained

EPS, STEP = 8 / 255, 2 / 255
# Overhead over the floor, as a share of the floor; on a GPU, how many times the plain fp32 loop.
OVERHEAD, GPU_GAIN = 1.08, 3.0


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained: a network of conf/model with random weights, on clips of noise."""

    model: str
    shape: tuple[int, ...]
    batch: int
    steps: int
    schedule: str
    rounds: int

    def data(self, setup: Setup) -> tuple[Tensor, Tensor]:
        """Return clips and labels."""
        labels = torch.randint(CLASSES, (self.batch,), generator=torch.Generator().manual_seed(0))
        return noise(self.batch, setup.device, self.shape), labels.to(setup.device)

    def network(self, setup: Setup, channels_last: bool | None = None) -> nn.Module:
        """Return the network."""
        return untrained(self.model, setup.device, self.shape, channels_last=channels_last)

    def training(self) -> Schedule:
        """Return the optimiser with its settings."""
        made: Schedule = safe_instantiate(composed(f"schedule={self.schedule}").schedule)
        return made


def defaults(setup: Setup) -> Runtime:
    """Return what a run computes with where nothing is said."""
    made: Runtime = safe_instantiate(composed(f"runtime={'gpu' if setup.gpu else 'cpu'}").runtime)
    return made


def fastest(setup: Setup) -> Runtime:
    """Return what is fastest: bf16, and on a GPU TF32 for the rest and ``torch.compile``."""
    return dataclasses.replace(defaults(setup), precision="bf16", tf32=setup.gpu, compile=setup.gpu)


def ours(case: Case, setup: Setup, runtime: Runtime, channels_last: bool | None = None) -> Run:
    """Return one update of advvid's trainer under AT."""
    (clips, labels), schedule, model = case.data(setup), case.training(), case.network(setup, channels_last)
    if runtime.compile:
        model.compile(dynamic=True)  # as a run does
    trainer = Trainer(
        fabric=runtime.fabric(),
        model=model,
        defense=AT(inner_steps=case.steps, inner_step_size=STEP),
        attacks={"pgd": PGD(eps=EPS)},
        schedule=schedule,
        run_dir=Path(),
        seed=0,
        tracker=NoTracker(),
        info={},
    )
    # What ``fit`` prepares. It would also score and save after each epoch, so that its single updates are timed here.
    trainer.scheduler, trainer.micro = schedule.scheduler(trainer.optimizer, 10_000), case.batch
    batch, step = Batch(clips, labels, [str(i) for i in range(case.batch)]), Step(0, 1, 0, 10_000, 0)

    def run() -> None:
        torch.set_float32_matmul_precision("high" if runtime.tf32 else "highest")
        trainer._update(batch, step, False, False)

    return run


def plain(case: Case, setup: Setup) -> Run:
    """Return one step of adversarial training as it is usually written in PyTorch, in fp32."""
    (clips, labels), model = case.data(setup), case.network(setup)
    optimizer: Any = case.training().optimizer(model.parameters())

    def run() -> None:
        torch.set_float32_matmul_precision("highest")
        model.eval()
        delta = torch.empty_like(clips).uniform_(-EPS, EPS)
        for _ in range(case.steps):
            delta.requires_grad_()
            loss = F.cross_entropy(model((clips + delta).clamp(0, 1)), labels)
            loss.backward()
            delta = (delta + STEP * delta.grad.sign()).clamp(-EPS, EPS).detach()  # type: ignore[union-attr]
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model((clips + delta).clamp(0, 1)), labels)
        loss.backward()
        optimizer.step()

    return run


def floor(case: Case, setup: Setup, runtime: Runtime, channels_last: bool | None = None) -> Run:
    """Return the passes of the bare network: ``steps`` for the gradient of the input, one for that of the weights."""
    (clips, labels), model = case.data(setup), case.network(setup, channels_last)
    if runtime.compile:
        model.compile(dynamic=True)
    fabric = runtime.fabric()

    def run() -> None:
        torch.set_float32_matmul_precision("high" if runtime.tf32 else "highest")
        x = clips.clone().requires_grad_()
        model.eval()
        with frozen(model), fabric.autocast():
            for _ in range(case.steps):
                torch.autograd.grad(F.cross_entropy(model(x), labels), x)
        model.train()
        with fabric.autocast():
            loss = F.cross_entropy(model(clips), labels)
        loss.backward()
        model.zero_grad(set_to_none=True)

    return run


def one(case: Case, setup: Setup) -> dict[str, Any]:
    """Measure one network at one number of inner steps."""
    usual, quick = defaults(setup), fastest(setup)
    last = True if setup.gpu else None
    made: dict[str, Callable[[Case], Run]] = {
        "ours": lambda c: ours(c, setup, usual),
        "plain": lambda c: plain(c, setup),
        "floor": lambda c: floor(c, setup, usual),
        "best": lambda c: ours(c, setup, quick, last),
        "best floor": lambda c: floor(c, setup, quick, last),
    }
    short = dataclasses.replace(case, steps=1)
    times = interleave(
        {name: make(case) for name, make in made.items()},
        setup.rounds(case.rounds),
        setup.device,
        warm=None if setup.gpu else {name: make(short) for name, make in made.items()},
        rarely=() if case.rounds > 2 else ("best", "best floor"),
        few=1,
        kept=setup.kept(f"training_{case.model}_{case.steps}"),
    )
    # A pass for the weights computes their gradient on top of that of the input: half as much again.
    work = pass_operations(case.network(setup), case.data(setup)[0]) * (case.steps + 1.5)
    return {
        **{k: v for k, v in dataclasses.asdict(case).items() if k != "rounds"},
        "times": times,
        "precision": usual.precision,
        "clips_per_second": {name: case.batch / middle(times, name) for name in times},
        "ratios": {
            f"{a}/{b}": speed_ratio(times, a, b)
            for a, b in (
                ("ours", "plain"),
                ("ours", "floor"),
                ("best", "plain"),
                ("best", "ours"),
                ("best", "best floor"),
            )
        },
        "utilisation": {
            "ours": work / middle(times, "ours") / matrix_speed(setup.device, torch.float32),
            "best": work / middle(times, "best") / matrix_speed(setup.device, torch.bfloat16),
        },
    }


def cases(setup: Setup) -> list[Case]:
    """Return what is measured on this machine."""
    if setup.quick:
        return [Case("r3d_tiny", TINY, 4, 2, "embedded", 2)]
    tiny = [Case("r3d_tiny", TINY, 32, steps, "embedded", 9) for steps in (5, 10)]
    if setup.gpu:
        return tiny + [Case(name, SHAPE, 16, steps, "kinfu", 9) for name in ("r3d_18", "slow_r50") for steps in (5, 10)]
    return [*tiny, Case("r3d_18", SHAPE, 1, 5, "kinfu", 2)]


def parts(setup: Setup) -> dict[str, Part]:
    """Return the measurements: every case."""
    return {f"{case.model}_{case.steps}": partial(one, case, setup) for case in cases(setup)}


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the section as Markdown."""
    text = [
        "## A step of adversarial training",
        "",
        "AT with K inner steps of PGD. *Plain*: the usual PyTorch loop, whose inner steps compute gradients of the weights as well",
        "(`plain` in scripts/benchmarks/training.py). *Floor*: K forward-backward passes for the input and one for the weights by",
        "the bare network. *Best*: bf16 autocast, on a GPU also TF32, channels last and `torch.compile`.",
        "",
        "| network | clips | batch | K | clips/s ours | ours / plain | ours / floor | best / plain | best / ours | best / its floor | "
        "utilisation ours, best |",
        "|---|---|" + "---:|" * 9,
    ]
    for case in results:
        cells = [
            shown(case["ratios"][name])
            for name in ("ours/plain", "ours/floor", "best/plain", "best/ours", "best/best floor")
        ]
        use = ", ".join(f"{100 * value:.0f}%" for value in case["utilisation"].values())
        text.append(
            f"| {case['model']} | {'x'.join(map(str, case['shape'][1:]))} | {case['batch']} | {case['steps']} | "
            f"{case['clips_per_second']['ours']:.3g} | {' | '.join(cells)} | {use} |"
        )
    return text


def targets(results: list[dict[str, Any]], gpu: bool) -> list[tuple[str, float, float, bool]]:
    """Return what the ratios have to reach, what they are, and whether they do."""
    rows = []
    for case in results:
        name, ratios = f"{case['model']}, K = {case['steps']}", case["ratios"]
        reached = ratios["ours/floor"]["median"]
        rows.append((f"{name}: AT step against its floor", 1 / OVERHEAD, reached, reached >= 1 / OVERHEAD))
        if gpu and case["model"] != "r3d_tiny" and case["steps"] == 10:
            reached = ratios["ours/plain"]["median"]
            rows.append((f"{name}: AT step against the plain fp32 loop", GPU_GAIN, reached, reached >= GPU_GAIN))
    return rows
