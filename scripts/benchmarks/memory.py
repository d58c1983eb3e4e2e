"""(e) The most memory that each needs, each in a fresh process, and what happens where there is little of it."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.data.content import Contents
from advvid.distributed.micro_batches import activation_bytes, free_bytes, micro_batch
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.tasks.classification import Classification
from benchmarks import rivals, training
from benchmarks.measure import MIB, Part, Setup, peak, reset_peak
from benchmarks.networks import CLASSES, SHAPE, TINY, answers, noise, untrained
from benchmarks.rivals import Search

ATTACKS = ("ours", "torchattacks", "foolbox", "art", "floor")
STEPS = ("ours", "plain", "floor")
LONG = (3, 64, 224, 224)
GIB = 2**30


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Carry out a function of a module in a fresh process, whose memory nothing has touched."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_told, work, *arguments).result()


def _told(work: Callable[..., Any], setup: Setup, *arguments: Any) -> Any:
    torch.set_num_threads(setup.threads)
    return work(setup, *arguments)


def attack_peak(setup: Setup, name: str, model: str, shape: tuple[int, ...], batch: int) -> float:
    """Return the MiB that two steps of PGD take on top of the network and the clips."""
    network, clips = untrained(model, setup.device, shape), noise(batch, setup.device, shape)
    labels, search = torch.zeros(batch, dtype=torch.int64, device=setup.device), Search(steps=2)
    made: dict[str, Callable[[], rivals.Attack]] = {
        "ours": lambda: rivals.ours(network, search, "fooled"),  # as by default
        "torchattacks": lambda: rivals.torchattacks(network, search),
        "foolbox": lambda: rivals.foolbox(network, search),
        "art": lambda: rivals.art(network, search, CLASSES),
        "floor": lambda: rivals.floor(network, search),
    }
    attack = made[name]()
    before = reset_peak(setup.device)
    attack(clips, labels)
    return peak(setup.device) - before


def step_peak(setup: Setup, name: str, case: training.Case) -> float:
    """Return the MiB that a step of adversarial training takes on top of the network and the clips."""
    usual = training.defaults(setup)
    made: dict[str, Callable[[], Callable[[], object]]] = {
        "ours": lambda: training.ours(case, setup, usual),
        "plain": lambda: training.plain(case, setup),
        "floor": lambda: training.floor(case, setup, usual),
    }
    run = made[name]()
    before = reset_peak(setup.device)
    run()
    return peak(setup.device) - before


def scored(
    model: nn.Module,
    attack: PGD,
    number: int,
    size: int,
    shape: Sequence[int],
    device: torch.device,
    micro: int | None = None,
) -> Evaluator:
    """Score clips that are made batch by batch, as a loader hands them over: bytes, labelled as the model answers."""

    def batches(numbers: Sequence[int]) -> Iterator[Batch]:
        for start in (n * size for n in numbers):
            count = min(size, number - start)
            draws = torch.Generator().manual_seed(start)
            clips = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=draws)
            labels = torch.cat([answers(model, clip[None].to(device) / 255) for clip in clips]).cpu()
            yield Batch(clips, labels, [f"clip {start + i}" for i in range(count)])

    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator(
            model=model,
            task=Classification(),
            columns=[Column("pgd", attack)],
            seed=0,
            device=device,
            run_dir=Path(folder),
            micro=micro,
        )
        ids = [f"clip {i}" for i in range(number)]
        evaluator.run(batches, Contents(ids, ids), size)
    return evaluator


def evaluation_peak(setup: Setup, number: int) -> float:
    """Return the MiB that the evaluation of so many clips takes on top of the network."""
    model = untrained("r3d_tiny", setup.device, TINY)
    before = reset_peak(setup.device)
    scored(model, PGD(steps=1), number, 50, TINY, setup.device)
    return peak(setup.device) - before


def long_peak(setup: Setup, shape: tuple[int, ...], batch: int, bound: float) -> dict[str, float]:
    """Attack a batch of long clips by I3D in at most ``bound`` MiB, and return what that took.

    The bound is laid on the process by the operating system (on a GPU by PyTorch): to take more fails at once.
    """
    model, clip = untrained("i3d", setup.device, shape), noise(1, setup.device, shape)
    each = activation_bytes(model, clip) / MIB
    before = reset_peak(setup.device)
    if setup.gpu:
        whole = torch.cuda.get_device_properties(setup.device).total_memory
        torch.cuda.set_per_process_memory_fraction((before + bound) * MIB / whole, setup.device)
    else:
        taken = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize:"))
        limit = int(taken.split()[1]) * 1024 + int(bound * MIB)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    free = free_bytes(setup.device) or 0
    micro = micro_batch(model, clip, batch, None, "the attack")
    evaluator = scored(model, PGD(steps=1, early_exit=False), batch, batch, shape, setup.device, micro)
    return {
        "activations_of_a_clip": each,
        "bound": bound,
        "free": free / MIB,
        "batch": batch,
        "micro_batch": evaluator.micro,
        "peak": peak(setup.device) - before,
    }


def attacks(setup: Setup) -> dict[str, Any]:
    """Measure every library's attack."""
    model, shape, batch = ("r3d_tiny", TINY, 4) if setup.quick else ("r3d_18", SHAPE, 16 if setup.gpu else 1)
    found = {name: alone(attack_peak, setup, name, model, shape, batch) for name in ATTACKS}
    return {"what": f"PGD, {model}", "clips": f"{batch} of {_size(shape)}", "mib": found}


def steps(setup: Setup) -> dict[str, Any]:
    """Measure a step of adversarial training."""
    case = training.cases(setup)[-1]
    found = {name: alone(step_peak, setup, name, replace(case, steps=1)) for name in STEPS}
    return {"what": f"AT step, {case.model}", "clips": f"{case.batch} of {_size(case.shape)}", "mib": found}


def evaluations(setup: Setup) -> dict[str, Any]:
    """Measure the evaluation of few and of ten times as many clips."""
    few = 20 if setup.quick else 200
    found = {str(number): alone(evaluation_peak, setup, number) for number in (few, 10 * few)}
    held = 10 * few * torch.Size(TINY).numel() * 4 / MIB
    return {"what": "evaluation, r3d_tiny", "clips": _size(TINY), "numbers": found, "clips_alone": held}


def long(setup: Setup) -> dict[str, Any]:
    """Attack clips of 64 frames of 224 x 224 by I3D where only some of a batch fits."""
    shape, bound = ((3, 16, 64, 64), 512.0) if setup.quick else (LONG, 4 * GIB / MIB)
    return {"what": "I3D", "clips": _size(shape), "long": alone(long_peak, setup, shape, 4, bound)}


def parts(setup: Setup) -> dict[str, Part]:
    """Return the measurements."""
    return {work.__name__: partial(work, setup) for work in (attacks, steps, evaluations, long)}


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the section as Markdown."""
    text = [
        "## Memory",
        "",
        "The most MiB held on top of the network and the clips, each measured in a fresh process.",
        "",
        "| what | clips | " + " | ".join(("ours", "torchattacks", "foolbox", "ART", "plain loop", "floor")) + " |",
        "|---|---|" + "---:|" * 6,
    ]
    for row in results:
        if "mib" in row:
            cells = [row["mib"].get(n) for n in ("ours", "torchattacks", "foolbox", "art", "plain", "floor")]
            shown = " | ".join("" if cell is None else f"{cell:.0f}" for cell in cells)
            text.append(f"| {row['what']} | {row['clips']} | {shown} |")
    for row in results:
        if "numbers" in row:
            said = ", ".join(f"{mib:.0f} MiB for {number} clips" for number, mib in row["numbers"].items())
            text += [
                "",
                f"Evaluation by r3d_tiny: {said} (the larger number of clips alone, as floats: "
                f"{row['clips_alone']:.0f} MiB).",
            ]
        if "long" in row:
            far = row["long"]
            text += [
                "",
                f"PGD on {far['batch']} clips of {row['clips']} by I3D, whose activations take "
                f"{far['activations_of_a_clip']:.0f} MiB a clip, in a process that may take {far['bound']:.0f} MiB more: "
                f"{far['micro_batch']} at once, {far['peak']:.0f} MiB at most.",
            ]
    return text


def targets(results: list[dict[str, Any]], gpu: bool) -> list[tuple[str, float, float, bool]]:
    """Return what has to be reached, what is, and whether it does."""
    rows = []
    for row in results:
        if "numbers" in row:
            few, many = row["numbers"].values()
            growth = (many - few) / row["clips_alone"]
            what = "evaluation of ten times the clips: growth as a share of the clips' own size (at most)"
            rows.append((what, 0.1, growth, growth <= 0.1))
        if "long" in row:
            far = row["long"]
            what = f"attack of {row['clips']} clips by I3D: MiB (at most)"
            rows.append((what, far["bound"], far["peak"], far["peak"] <= far["bound"]))
    return rows


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape[1:])
