"""Certified accuracy of a smoothed model, beside what an attack leaves of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt, MinLen
from rich.console import Group, RenderableType
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch, no_answers
from advvid.analyses.bounds import below_certificate, bound_curves, bound_table, bounds, held, summary
from advvid.analyses.smoothed import SmoothedScores, certify, predict
from advvid.analyses.tries import tries_in_radius
from advvid.attacks.gradient import GradientAttack
from advvid.attacks.pgd import PGD
from advvid.core import digests
from advvid.core.batch import Batch, clip_generators, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, PositiveNumber, Whole
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
    which happens by chance with probability 2 alpha a try at most. A larger sigma proves farther and answers worse. Train
    with ``defense=gaussian_noise`` of the same sigma.

    Args:
        sigmas: standard deviations of the noise of each value, each a smoothed model of its own.
        n0: noisy clips from which the class is guessed, and by which an attacked clip is judged.
        n: noisy clips by which its probability is bounded; no radius exceeds ``sigma * Phi^-1(alpha^(1/n))``.
        alpha: probability that a certificate is wrong.
        radii: l2 radii over the whole clip.
        attack: an l2 search; its budget is set to each radius, its step size to 2.5 radius / steps, and it never stops
            early, whatever is given. It sees the mean probability over ``draws`` noisy clips.
        draws: noisy clips behind each gradient.
        tries: changed clips inside each certified radius besides, half of them random, half points of ascents against the
            proved answer.

    Example:
        >>> Smoothing(sigmas=[0.25], n=10_000).alpha
        0.001
    """

    sigmas: Annotated[Sequence[PositiveNumber], MinLen(1)] = (0.05, 0.1)
    n0: Annotated[int, Gt(1)] = 100
    n: Count = 1000
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.001
    radii: Annotated[Sequence[PositiveNumber], MinLen(1)] = (0.05, 0.1, 0.2)
    attack: GradientAttack = field(default_factory=lambda: PGD(norm="l2", eps=0.1, steps=10))
    draws: Count = 4
    tries: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.attack.threat) is not L2Ball:
            raise AdvvidError("analysis=smoothing proves radii in l2: give analysis.attack an attack with norm=l2")
        for name in ("sigmas", "radii"):
            object.__setattr__(self, name, tuple(sorted({parse_number(value) for value in getattr(self, name)})))

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
        smoothed = [SmoothedScores(context.model, float(s), noise).to(context.device).eval() for s in self.sigmas]
        made = (repr(self), digests.of_module(context.model))
        parts = by_batch(
            context, context.split, "clips", made, "smoothing", lambda b: self._batch(context, smoothed, b)
        )
        levels = [
            self._level(scores.sigma, [c for part in parts for c in part["levels"][i]])
            for i, scores in enumerate(smoothed)
        ]
        radii = [float(radius) for radius in self.radii]
        tried = [one for level in levels for one in held(level["clips"], "radius", radii)]
        check = below_certificate(
            tried,
            "the certificate is wrong, more often than alpha allows",
            "look for a model that does not answer the same on equal clips, or noise that is not Gaussian",
        )
        return {
            "n": len(levels[0]["clips"]),
            "draws": [self.n0, self.n],
            "alpha": self.alpha,
            "levels": levels,
            **summary(tried),
            "checks": [dataclasses.asdict(check)],
            "settings": [dataclasses.asdict(self.at(float(radius))) for radius in self.radii],
        }

    def _level(self, sigma: float, clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the bounds of one smoothed model."""
        radii = [float(radius) for radius in self.radii]
        both = zip(radii, bounds(clips, "radius", radii), strict=True)
        return {
            "sigma": sigma,
            "largest": sigma * torch.special.ndtri(torch.tensor(self.alpha ** (1 / self.n))).item(),
            "right": proportion([clip["answer"] == clip["label"] for clip in clips]),
            "abstained": sum(clip["answer"] is None for clip in clips),
            "bounds": [{"radius": radius} | found for radius, found in both],
            "clips": clips,
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw both bounds over the radius, for each noise."""
        parts = {f", sigma {level['sigma']:g}": level for level in result["levels"]}
        return [bound_curves("Smoothed with Gaussian noise", "radius", result["n"], parts, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return, for each noise, a row per radius: the proved lower bound beside the attack's upper bound."""
        shown: list[RenderableType] = []
        for level in result["levels"]:
            shown.append(bound_table(f"Smoothed with sigma {level['sigma']:g}, n = {result['n']}", "radius", level))
            abstained = f"Abstained on {level['abstained']} clips, which count as wrong."
            shown.append(Text(f"{abstained} No radius can exceed {level['largest']:.3g}."))
        return Group(*shown, *(Text(check["message"]) for check in result["checks"]))

    def _batch(self, context: Context, smoothed: Sequence[SmoothedScores], batch: Batch) -> dict[str, Any]:
        return {"levels": [self._clips(context, scores, batch) for scores in smoothed]}

    def _clips(self, context: Context, scores: SmoothedScores, batch: Batch) -> list[dict[str, Any]]:
        """Certify and attack a batch under one noise."""
        found = [
            certify(context.model, clip, scores.sigma, (self.n0, self.n), self.alpha, generator)
            for clip, generator in zip(batch.inputs, clip_generators(context.seed, "smoothing", batch.ids), strict=True)
        ]
        attacked = [self._attacked(context, scores, batch, float(radius)) for radius in self.radii]
        tried = [
            tries_in_radius(scores, clip, (answer, radius), self.tries, (self.n, self.alpha), generator)
            if self.tries and answer is not None
            else []
            for clip, (answer, radius), generator in zip(
                batch.inputs, found, clip_generators(context.seed, "tries", batch.ids), strict=True
            )
        ]
        rows = zip(batch.ids, batch.target.tolist(), found, zip(*attacked, strict=True), tried, strict=True)
        return [
            {"id": name, "label": label, "answer": answer, "radius": radius, "attacked": list(after), "tried": inside}
            for name, label, (answer, radius), after, inside in rows
        ]

    def at(self, radius: float) -> GradientAttack:
        """Return the attack at a radius, with steps of 2.5 radius / steps and no early exit."""
        return self.attack.adjusted(
            eps=radius, step_size=2.5 * radius / getattr(self.attack, "steps", 1), early_exit=False
        )

    def _attacked(self, context: Context, scores: SmoothedScores, batch: Batch, radius: float) -> list[int | None]:
        """Attack the smoothed model at a radius and return its answers on fresh noise."""
        column = Column(f"radius={radius:g}", self.at(radius))
        result, _ = craft(column, scores, batch.inputs, batch.target, batch.ids, context.seed, context.task)
        generators = clip_generators(context.seed, f"judged {radius:g}", batch.ids)
        return [
            predict(context.model, clip, scores.sigma, self.n0, self.alpha, generator)
            for clip, generator in zip(result.x_adv, generators, strict=True)
        ]
