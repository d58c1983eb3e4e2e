"""Certified accuracy of a smoothed model, beside what an attack leaves of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt, MinLen
from rich.console import Group, RenderableType
from rich.text import Text
from torch import Tensor

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch, no_answers
from advvid.analyses.bounds import below_certificate, bound_curves, bound_table
from advvid.analyses.smoothed import SmoothedScores, certify, predict
from advvid.attacks.gradient import GradientAttack
from advvid.attacks.pgd import PGD
from advvid.core import digests
from advvid.core.batch import Batch, clip_generators, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, PositiveNumber
from advvid.core.numbers import parse_number
from advvid.evaluation.columns import Column, craft
from advvid.evaluation.tally import proportion
from advvid.tasks.classification import Classification
from advvid.threats.balls import L2Ball


@dataclass(frozen=True, kw_only=True)
class Smoothing(Analysis):
    """Randomised smoothing (Cohen et al. 2019): the share of clips whose right answer is proved within an l2 radius.

    The smoothed model answers what the run's model answers most often on clips with Gaussian noise. Its certified accuracy
    at a radius is a lower bound of its accuracy under every attack of that l2 budget; the accuracy that is left by the
    attack is an upper bound of the same. A check is raised where an attack changes an answer inside its certified radius,
    which happens by chance with probability 2 alpha a try at most. Train with ``defense=gaussian_noise`` of the same sigma.

    Args:
        sigma: standard deviation of the noise of each value.
        n0: noisy clips from which the class is guessed, and by which an attacked clip is judged.
        n: noisy clips by which its probability is bounded; no radius exceeds ``sigma * Phi^-1(alpha^(1/n))``.
        alpha: probability that a certificate is wrong.
        radii: l2 radii over the whole clip.
        attack: an l2 search; its budget is set to each radius, its step size to 2.5 radius / steps, and it never stops
            early, whatever is given. It sees the mean probability over ``draws`` noisy clips.
        draws: noisy clips behind each gradient.

    Example:
        >>> Smoothing(sigma=0.25, n=10_000).alpha
        0.001
    """

    sigma: PositiveNumber = 0.1
    n0: Annotated[int, Gt(1)] = 100
    n: Count = 1000
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.001
    radii: Annotated[Sequence[PositiveNumber], MinLen(1)] = (0.05, 0.1, 0.2)
    attack: GradientAttack = field(default_factory=lambda: PGD(norm="l2", eps=0.1, steps=10))
    draws: Count = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.attack.threat) is not L2Ball:
            raise AdvvidError("analysis=smoothing proves radii in l2: give analysis.attack an attack with norm=l2")
        object.__setattr__(self, "radii", tuple(sorted({parse_number(radius) for radius in self.radii})))

    def run(self, context: Context) -> dict[str, Any]:
        """Certify every clip and attack it at every radius.

        Raises:
            AdvvidError: for a task other than the choice of one class.
        """
        if not isinstance(context.task, Classification):
            raise no_answers(context)
        channels, frames, *side = context.clip_shape
        source = torch.Generator().manual_seed(derive_seed(context.seed, "draws"))
        noise = torch.randn(self.draws, channels, context.views * frames, *side, generator=source)
        scores = SmoothedScores(context.model, float(self.sigma), noise).to(context.device).eval()
        made = (repr(self), digests.of_module(context.model))
        parts = by_batch(context, context.split, "clips", made, "smoothing", lambda b: self._batch(context, scores, b))
        clips = [clip for part in parts for clip in part["clips"]]
        radii = [float(radius) for radius in self.radii]
        bounds = [
            {
                "radius": radius,
                "certified": proportion([c["answer"] == c["label"] and c["radius"] >= radius for c in clips]),
                # An upper bound: where the smoothed model abstains, the attack is not sure to have succeeded.
                "attacked": proportion([{c["answer"], c["attacked"][i]} <= {c["label"], None} for c in clips]),
            }
            for i, radius in enumerate(radii)
        ]
        tried = list(held(clips, radii))
        check = below_certificate(
            tried,
            "the certificate is wrong, more often than alpha allows",
            "look for a model that does not answer the same on equal clips, or noise that is not Gaussian",
        )
        return {
            "sigma": float(self.sigma), "n": len(clips), "draws": [self.n0, self.n], "alpha": self.alpha,
            "largest": float(self.sigma) * torch.special.ndtri(torch.tensor(self.alpha ** (1 / self.n))).item(),
            "right": proportion([clip["answer"] == clip["label"] for clip in clips]),
            "abstained": sum(clip["answer"] is None for clip in clips), "bounds": bounds, "tries": len(tried),
            "checks": [dataclasses.asdict(check)], "clips": clips,
            "settings": [dataclasses.asdict(self.at(radius)) for radius in radii],
        }  # fmt: skip

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw both bounds over the radius."""
        title = f"smoothed with sigma {result['sigma']:g}"
        return [bound_curves(title, "radius", result["n"], {"": result}, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per radius: the proved lower bound beside the attack's upper bound."""
        notes = [
            f"Abstained on {result['abstained']} clips, which count as wrong. No radius can exceed {result['largest']:.3g}.",
            *(check["message"] for check in result["checks"]),
        ]
        layout = bound_table(f"Smoothed with sigma {result['sigma']:g}, n = {result['n']}", "radius", result)
        return Group(layout, *(Text(note) for note in notes))

    def _batch(self, context: Context, scores: SmoothedScores, batch: Batch) -> dict[str, Any]:
        sigma, model = float(self.sigma), context.model
        found = [
            certify(model, clip, sigma, (self.n0, self.n), self.alpha, generator)
            for clip, generator in zip(batch.inputs, clip_generators(context.seed, "smoothing", batch.ids), strict=True)
        ]
        attacked = [self._attacked(context, scores, batch, float(radius)) for radius in self.radii]
        rows = zip(batch.ids, batch.target.tolist(), found, zip(*attacked, strict=True), strict=True)
        return {
            "clips": [
                {"id": name, "label": label, "answer": answer, "radius": radius, "attacked": list(after)}
                for name, label, (answer, radius), after in rows
            ]
        }

    def at(self, radius: float) -> GradientAttack:
        """Return the attack at a radius, with steps of 2.5 radius / steps and no early exit."""
        return self.attack.adjusted(
            eps=radius, step_size=2.5 * radius / getattr(self.attack, "steps", 1), early_exit=False
        )

    def _attacked(self, context: Context, scores: SmoothedScores, batch: Batch, radius: float) -> list[int | None]:
        """Attack the smoothed model at a radius and return its answers on fresh noise."""
        column = Column(f"radius={radius:g}", self.at(radius))
        result, _ = craft(column, scores, batch.inputs, batch.target, batch.ids, context.seed, context.task)
        return self._answers(context, result.x_adv, clip_generators(context.seed, f"judged {radius:g}", batch.ids))

    def _answers(self, context: Context, clips: Tensor, generators: Sequence[torch.Generator]) -> list[int | None]:
        sigma = float(self.sigma)
        return [
            predict(context.model, clip, sigma, self.n0, self.alpha, generator)
            for clip, generator in zip(clips, generators, strict=True)
        ]


def held(clips: Sequence[Mapping[str, Any]], radii: Sequence[float]) -> Iterator[tuple[str, bool]]:
    """Yield, for every attack inside a certified radius, the clip's name and whether its answer is another one for sure."""
    for clip in clips:
        for radius, after in zip(radii, clip["attacked"], strict=True):
            if clip["answer"] is not None and radius <= clip["radius"]:
                yield clip["id"], after not in (None, clip["answer"])
