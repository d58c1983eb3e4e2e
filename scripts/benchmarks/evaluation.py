"""(b) The evaluation of a benign and of robust models by PGD-100: early exit against all steps for every clip."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.data.content import Contents
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.tasks.classification import Classification
from benchmarks import rivals
from benchmarks.measure import Part, Setup, interleave, middle, shown, speed_ratio
from benchmarks.networks import trained
from benchmarks.rivals import Search
from compare_attacks import MODELS, load

NAMES = ("benign", "at", "cat")
TARGETS = {"benign": 10.0, "at": 1.5, "cat": 1.5}
COLUMN = "pgd"


def in_batches(
    clips: Tensor, labels: Tensor, ids: Sequence[str], size: int
) -> Callable[[Sequence[int]], Iterator[Batch]]:
    """Return what the evaluator wants: the batches with given numbers, in this order."""

    def batches(numbers: Sequence[int]) -> Iterator[Batch]:
        for number in numbers:
            part = slice(number * size, (number + 1) * size)
            yield Batch(clips[part], labels[part], list(ids[part]))

    return batches


def evaluate(
    model: nn.Module,
    attack: Attack,
    batches: Callable[[Sequence[int]], Iterator[Batch]],
    ids: Sequence[str],
    size: int,
    device: torch.device,
    micro: int | None = None,
) -> list[bool]:
    """Score a model by advvid's evaluator, all its checks included, and tell which clips are wrong in the end."""
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Evaluator(
            model=model,
            task=Classification(),
            columns=[Column(COLUMN, attack)],
            seed=0,
            device=device,
            run_dir=Path(folder),
            micro=micro,
        )
        samples = evaluator.run(batches, Contents(ids, ids), size)
    return [line["attacks"][COLUMN]["pred"] != line["label"] for line in samples]


def by_torchattacks(
    model: nn.Module, search: Search, clips: Tensor, labels: Tensor, size: int
) -> tuple[list[bool], Tensor]:
    """Attack batch by batch and predict, as one does with torchattacks; return which are wrong, and by how much.

    Shape:
        the second result: true logit less the largest other ``[B]``, negative for clips that are fooled.
    """
    attack, wrong, margins = rivals.torchattacks(model, search), [], []
    for part in torch.arange(len(clips), device=clips.device).split(size):
        x_adv = attack(clips[part], labels[part])
        with torch.no_grad():
            logits = model(x_adv)
        wrong += (logits.argmax(dim=1) != labels[part]).tolist()
        true = logits.gather(1, labels[part, None])
        margins.append((true - logits.scatter(1, labels[part, None], -torch.inf).amax(dim=1, keepdim=True)).squeeze(1))
    return wrong, torch.cat(margins)


def one(name: str, setup: Setup, number: int, size: int, search: Search, rounds: int) -> dict[str, Any]:
    """Evaluate one model both ways."""
    subject = load(name, trained(name, setup), number)
    model, device = subject.model.to(setup.device).requires_grad_(True), setup.device
    clips, labels = subject.clips.to(device), subject.labels.to(device)
    batches = in_batches(clips, labels, subject.ids, size)
    attack = PGD(eps=search.eps, step_size=search.step_size, steps=search.steps, random_start=False)
    found: dict[str, Any] = {}

    def ours() -> None:
        found["ours"] = evaluate(model, attack, batches, subject.ids, size, device)

    def theirs() -> None:
        found["theirs"] = by_torchattacks(model, search, clips, labels, size)

    few = in_batches(clips[:2], labels[:2], subject.ids[:2], 2)
    times = interleave(
        {"ours": ours, "torchattacks": theirs},
        setup.rounds(rounds),
        device,
        warm={
            "ours": lambda: evaluate(model, attack, few, subject.ids[:2], 2, device),
            "torchattacks": lambda: by_torchattacks(model, Search(1), clips[:2], labels[:2], 2),
        },
    )
    wrong, margins = found["theirs"]
    missed = [i for i, (mine, other) in enumerate(zip(found["ours"], wrong, strict=True)) if other and not mine]
    return {
        "model": name,
        "title": MODELS[name].title,
        "clips": len(labels),
        "batch": size,
        "eps": search.eps,
        "step_size": search.step_size,
        "steps": search.steps,
        "times": times,
        "seconds": {variant: middle(times, variant) for variant in times},
        "ratio": speed_ratio(times, "ours", "torchattacks"),
        "clean_accuracy": float(subject.right.float().mean()),
        "accuracy": {"ours": 1 - sum(found["ours"]) / len(labels), "torchattacks": 1 - sum(wrong) / len(labels)},
        "fooled_by_torchattacks": sum(wrong),
        "fooled_by_torchattacks_alone": len(missed),
        "margins_of_those": [abs(float(margins[i])) for i in missed],
    }


def parts(setup: Setup) -> dict[str, Part]:
    """Return the measurements: every model's evaluation."""
    if setup.quick:
        return {name: partial(one, name, setup, 8, 8, Search(steps=4), 2) for name in NAMES[:2]}
    number, rounds = (200, 9) if setup.gpu else (50, 3)
    return {name: partial(one, name, setup, number, number, Search(steps=100), rounds) for name in NAMES}


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the section as Markdown."""
    text = [
        "## Evaluation by PGD-100",
        "",
        "r3d_tiny trained on the embedded data; l-inf, eps 8/255, step 2/255, no random start, fp32. Ours is the evaluator with",
        "its checks (clips fooled leave the batch, each found clip is predicted and measured again); torchattacks' is its PGD of",
        "100 steps and a prediction. *Theirs alone*: clips that torchattacks fools and ours does not.",
        "",
        "| model | clips | s ours | s torchattacks | ours / torchattacks | accuracy clean | ours | torchattacks | fooled by torchattacks | "
        "theirs alone |",
        "|---|" + "---:|" * 9,
    ]
    for row in results:
        figures = [row["clean_accuracy"], row["accuracy"]["ours"], row["accuracy"]["torchattacks"]]
        text.append(
            f"| {row['title']} | {row['clips']} | {row['seconds']['ours']:.2f} | {row['seconds']['torchattacks']:.2f} | "
            f"{shown(row['ratio'])} | {' | '.join(f'{100 * figure:.1f}' for figure in figures)} | "
            f"{row['fooled_by_torchattacks']} | {row['fooled_by_torchattacks_alone']} |"
        )
    return text


def targets(results: list[dict[str, Any]], gpu: bool) -> list[tuple[str, float, float, bool]]:
    """Return what the ratios have to reach, what they are, and whether they do."""
    rows = []
    for row in results:
        wanted, reached = TARGETS[row["model"]], row["ratio"]["median"]
        rows.append((f"{row['title']}: PGD-100 against torchattacks", wanted, reached, reached >= wanted))
        missed = float(row["fooled_by_torchattacks_alone"])
        rows.append((f"{row['title']}: clips that torchattacks alone fools (at most)", 0.0, missed, missed == 0))
    return rows
