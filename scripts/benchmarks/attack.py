"""(a) Throughput of PGD-10 at equal work, against torchattacks, foolbox, ART and the passes of the bare network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from advvid.distributed.runtime import Runtime
from benchmarks import rivals
from benchmarks.measure import Part, Run, Setup, interleave, matrix_speed, middle, shown, speed_ratio
from benchmarks.networks import CLASSES, SHAPE, TINY, answers, noise, pass_operations, untrained
from benchmarks.rivals import Search

PEERS = ("torchattacks", "foolbox", "art")
# What each ratio has to reach on a CPU.
TARGETS = {"torchattacks": 0.97, "foolbox": 1.8, "art": 1.8}
# On a CPU these take too long to run in every round.
RARELY = ("foolbox", "art", "ours, keep=fooled", "floor", "best", "best floor")


def best_model(name: str, setup: Setup, shape: tuple[int, ...]) -> nn.Module:
    """Return the network as it is fastest: on a GPU compiled and with channels last, on a CPU as it is configured."""
    model = untrained(name, setup.device, shape, channels_last=True if setup.gpu else None)
    if setup.gpu:
        model.compile(dynamic=True)  # as runtime.compile does
    return model


def makers(name: str, setup: Setup, shape: tuple[int, ...]) -> dict[str, Callable[[Search], rivals.Attack]]:
    """Return what is compared on a network, by name."""
    plain, best = untrained(name, setup.device, shape), best_model(name, setup, shape)
    low = Runtime(device="auto" if setup.gpu else "cpu", precision="bf16").fabric().autocast
    return {
        "ours": lambda search: rivals.ours(plain, search),
        "torchattacks": lambda search: rivals.torchattacks(plain, search),
        "foolbox": lambda search: rivals.foolbox(plain, search),
        "art": lambda search: rivals.art(plain, search, CLASSES),
        "ours, keep=fooled": lambda search: rivals.ours(plain, search, "fooled"),
        "floor": lambda search: rivals.floor(plain, search),
        "best": lambda search: rivals.ours(best, search, context=low),
        "best floor": lambda search: rivals.floor(best, search, low),
    }


def one(name: str, setup: Setup, batch: int, rounds: int, few: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Measure one network."""
    model, clips = untrained(name, setup.device, shape), noise(batch, setup.device, shape)
    labels, search, found = answers(model, clips), Search(steps=2 if setup.quick else 10), {}

    def run(variant: str, attack: rivals.Attack) -> Run:
        def recorded() -> None:
            found[variant] = attack(clips, labels)

        return recorded

    made = makers(name, setup, shape)
    times = interleave(
        {variant: run(variant, make(search)) for variant, make in made.items()},
        setup.rounds(rounds),
        setup.device,
        warm={variant: partial(make(Search(steps=1)), clips, labels) for variant, make in made.items()},
        rarely=() if setup.gpu else RARELY,
        few=few,
        kept=setup.kept(f"attack_{name}"),
    )
    work = pass_operations(model, clips)
    passes = search.steps * work
    precisions = {"ours": torch.float32, "best": torch.bfloat16}
    return {
        "model": name,
        "shape": list(shape),
        "batch": batch,
        "steps": search.steps,
        "times": times,
        "clips_per_second": {variant: batch / middle(times, variant) for variant in times},
        "ratios": {f"ours/{peer}": speed_ratio(times, "ours", peer) for peer in (*PEERS, "ours, keep=fooled", "floor")}
        | {f"best/{other}": speed_ratio(times, "best", other) for other in ("ours", "torchattacks", "best floor")},
        "operations_per_pass": work,
        "utilisation": {v: passes / middle(times, v) / matrix_speed(setup.device, p) for v, p in precisions.items()},
        "fooled": {v: _fooled(model, x, labels) for v, x in found.items()},
        # None where every round was there from a run that was killed.
        "equal_to_torchattacks": (
            float((found["ours"] == found["torchattacks"]).float().mean()) if "torchattacks" in found else None
        ),
    }


def _fooled(model: nn.Module, x_adv: Tensor, labels: Tensor) -> int:
    """Count the clips that fool the network in fp32."""
    return int((answers(model, x_adv) != labels).sum()) if x_adv.shape[0] == len(labels) else 0


def parts(setup: Setup) -> dict[str, Part]:
    """Return the measurements: r3d_18 and slow_r50 at 16 x 112 x 112."""
    if setup.quick:
        return {"r3d_tiny": lambda: one("r3d_tiny", setup, 4, 2, 2, TINY)}
    batch = 16 if setup.gpu else 1
    few = 9 if setup.gpu else 1 if setup.rounds(9) < 4 else 2
    rounds = {"r3d_18": 9, "slow_r50": 9 if setup.gpu else 5}
    return {name: partial(one, name, setup, batch, number, few, SHAPE) for name, number in rounds.items()}


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the section as Markdown."""
    text = [
        "## PGD-10 at equal work",
        "",
        "As many forward and backward passes for all (no early exit, no random start, fp32). *keep=fooled*: our default, which",
        "predicts once more at the end and so never returns less than an earlier step had. *Floor*: the passes of the bare",
        "network alone. *Best*: bf16 autocast, on a GPU also channels last and `torch.compile`. Utilisation: operations per",
        "second against a large matrix product of the same precision on this machine.",
        "",
        "| network | batch | clips/s ours | ours / torchattacks | ours / foolbox | ours / ART | ours / keep=fooled | ours / floor | "
        "best / ours | best / torchattacks | best / its floor | utilisation ours, best |",
        "|---|" + "---:|" * 11,
    ]
    for net in results:
        ratios = net["ratios"]
        names = [f"ours/{other}" for other in (*PEERS, "ours, keep=fooled", "floor")]
        cells = [shown(ratios[name]) for name in [*names, "best/ours", "best/torchattacks", "best/best floor"]]
        use = ", ".join(f"{100 * value:.0f}%" for value in net["utilisation"].values())
        text.append(
            f"| {net['model']} | {net['batch']} | {net['clips_per_second']['ours']:.3g} | {' | '.join(cells)} | {use} |"
        )
    known = [net for net in results if net["equal_to_torchattacks"] is not None]
    same = ", ".join(f"{100 * net['equal_to_torchattacks']:.2f}% on {net['model']}" for net in known)
    text += ["", f"Values of our adversarial clips that are the same floats as torchattacks': {same}."] if known else []
    return text


def targets(results: list[dict[str, Any]], gpu: bool) -> list[tuple[str, float, float, bool]]:
    """Return what the ratios have to reach, what they are, and whether they do."""
    rows = []
    for net in results:
        if gpu:
            reached = net["ratios"]["best/best floor"]["median"]
            rows.append((f"{net['model']}: attack loop against its floor", 1 / 1.15, reached, reached >= 1 / 1.15))
            continue
        for peer, wanted in TARGETS.items():
            reached = net["ratios"][f"ours/{peer}"]["median"]
            rows.append((f"{net['model']}: PGD-10 against {peer}", wanted, reached, reached >= wanted))
    return rows
