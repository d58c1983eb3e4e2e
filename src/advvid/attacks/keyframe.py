"""Which frames to attack: given, first, random, by Bayesian optimisation, or all of them in turn."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from advvid.attacks.penalised import Found
from advvid.attacks.selection import Selection
from advvid.core.errors import AdvvidError

FIXED = ("first", "random", "given")
KeyFrame = Literal["first", "random", "given", "bayesian", "brute_force"]
# Brute force over pairs of 40 frames is 780 searches a clip; beyond that it is a mistake.
MOST_SETS = 1000

# A search on some rows of the batch with the frames of each, ``(rows, index [R, N]) -> Found``.
Trial = Callable[[Tensor, Tensor], Found]


def fixed_frames(
    rule: str, count: int, given: Sequence[int], clips: Tensor, generators: Sequence[torch.Generator]
) -> Selection:
    """Return the frames of the rules that look at no model.

    Args:
        rule: ``first`` (the first ``count``), ``random`` (any ``count``, per clip) or ``given``.
        count: how many; all of the clip's if it has fewer.
        given: frame numbers from 0, for ``given``.
        clips: ``[B, 3, T, H, W]``.
        generators: one per clip.

    Raises:
        AdvvidError: if a given frame does not exist.
    """
    length = clips.shape[2]
    count = min(count, length)
    if rule == "given":
        if max(given) >= length:
            raise AdvvidError(
                f"key frame {max(given)} does not exist in clips of {length} frames: choose numbers from 0 to {length - 1}"
            )
        rows = [sorted(given)] * len(clips)
    elif rule == "random":
        rows = [sorted(torch.randperm(length, generator=g)[:count].tolist()) for g in generators]
    else:
        rows = [list(range(count))] * len(clips)
    return Selection(torch.tensor(rows).to(clips.device, non_blocking=True), length)


def brute_force(trial: Trial, count: int, clips: Tensor) -> Found:
    """Search every set of frames in turn and keep each clip's best: the upper bound of DeepSAVA, sec. 4.2.5.

    No clip stops at the first set that fools: the best set is what is asked for.

    Raises:
        AdvvidError: if there are more sets than anyone would wait for.
    """
    length = clips.shape[2]
    count = min(count, length)
    if math.comb(length, count) > MOST_SETS:
        raise AdvvidError(
            f"brute force over {count} of {length} frames means {math.comb(length, count)} searches a clip, more than "
            f"{MOST_SETS}: choose fewer frames or key_frame=bayesian"
        )
    rows = torch.arange(len(clips), device=clips.device)
    best: Found | None = None
    for chosen in itertools.combinations(range(length), count):
        found = trial(rows, torch.tensor([chosen], device=clips.device).expand(len(clips), -1).contiguous())
        best = found if best is None else best.merge(rows, found)
    assert best is not None  # a clip has at least one frame
    return best


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a Bayesian search goes.

    Args:
        count: N, the frames of a set.
        trials: sets that are tried.
        early_exit: clips that are fooled take no further part; their verdicts are the same without.
        together: starting sets of a clip that one trial takes at once.
    """

    count: int
    trials: int
    early_exit: bool
    together: int = 1


def bayesian(trial: Trial, course: Course, clips: Tensor, generators: Sequence[torch.Generator]) -> Found:
    """Search sets of frames that expected improvement proposes (DeepSAVA, algorithm 1) and keep the best.

    The first third of the sets, spread over the clip, starts each clip's own model of the objective. They do not depend on
    each other, so that several may be tried at once; what is found is the same, and so are the calls that count.

    Args:
        trial: a search on some rows, which may stand there several times, in host memory.
        course: how it goes.
        clips: ``[B, 3, T, H, W]``.
        generators: one per clip.
    """
    length = clips.shape[2]
    count = min(course.count, length)
    number = min(course.trials, math.comb(length, count))
    proposers = [Proposer(length, count, max(1, math.ceil(number / 3)), generator) for generator in generators]
    left, best = list(range(len(clips))), None
    while left:
        asked = {i: proposers[i].several(min(course.together, number - len(proposers[i].tried))) for i in left}
        order = [(i, nth) for nth in range(course.together) for i in left if nth < len(asked[i])]
        rows, chosen = torch.tensor([i for i, _ in order]), torch.tensor([asked[i][nth] for i, nth in order])
        found = trial(rows, chosen.to(clips.device, non_blocking=True))
        told = torch.stack([found.objective.double(), found.fooled.double()]).tolist()
        out: set[int] = set()
        for nth in range(course.together):
            places = [place for place, (i, each) in enumerate(order) if each == nth and i not in out]
            if not places:
                break
            for place in places:
                i = order[place][0]
                proposers[i].learn(asked[i][nth], told[0][place])
                if course.early_exit and told[1][place]:
                    out.add(i)
            here = found if len(places) == len(order) else found.select(torch.tensor(places).to(clips.device))
            best = here if best is None else best.merge(rows[places].to(clips.device, non_blocking=True), here)
        left = [i for i in left if i not in out and len(proposers[i].tried) < number]
    assert best is not None  # trials is at least 1
    return best


class Proposer:
    """Bayesian optimisation of one clip's frames: a Gaussian process and expected improvement (DeepSAVA, eq. 4).

    Both come from the package ``bayesian-optimization``. A set of N frames is a point of N whole numbers.

    Args:
        length: T, the frames of the clip.
        count: N, the frames of a set.
        initial: sets that are spread over the clip before the first proposal.
        generator: the clip's own.

    Example:
        >>> proposer = Proposer(8, 1, 2, torch.Generator().manual_seed(0))   # doctest: +SKIP
        >>> proposer.learn(proposer.propose(), 0.3)                           # doctest: +SKIP
    """

    def __init__(self, length: int, count: int, initial: int, generator: torch.Generator) -> None:
        self.length, self.count, self.generator = length, count, generator
        self.tried: dict[tuple[int, ...], float] = {}
        self.waiting = self._spread(initial)

    def propose(self) -> tuple[int, ...]:
        """Return the next set to try, ascending; never one that was tried."""
        while self.waiting:
            chosen = self.waiting.pop(0)
            if chosen not in self.tried:
                return chosen
        return self._untried(self._improve())

    def several(self, most: int) -> list[tuple[int, ...]]:
        """Return sets to try at once: those that start the search, at most so many, or else the next one alone."""
        # Of each once, in order.
        fresh = [chosen for chosen in dict.fromkeys(self.waiting) if chosen not in self.tried][:most]
        if most == 1 or not fresh:
            return [self.propose()]
        self.waiting = self.waiting[self.waiting.index(fresh[-1]) + 1 :]
        return fresh

    def learn(self, frames: tuple[int, ...], objective: float) -> None:
        """Note the objective of a set, which is to be small."""
        # Four digits: the rounding noise of another batch size must not send the search elsewhere.
        self.tried[frames] = float(f"{objective:.4g}")

    def _spread(self, initial: int) -> list[tuple[int, ...]]:
        """Return sets whose first frames lie one in each of ``initial`` equal parts of the clip, in random order."""
        places = (torch.arange(initial) + torch.rand(initial, generator=self.generator)) / initial * self.length
        order = torch.randperm(initial, generator=self.generator)
        result = []
        for place in places[order].long().clamp(max=self.length - 1).tolist():
            others = [i for i in torch.randperm(self.length, generator=self.generator).tolist() if i != place]
            result.append(tuple(sorted([place, *others[: self.count - 1]])))
        return result

    def _improve(self) -> list[int]:
        """Return the point of largest expected improvement among random ones, given what was learned."""
        acquisition, space, process = _library(self.length, self.count)
        for frames, objective in self.tried.items():
            space.register(np.array(frames, dtype=float), -objective)  # the library maximises
        seed = int(torch.randint(2**31 - 1, (), generator=self.generator))
        with warnings.catch_warnings():
            # A length scale at the end of its range is fine for a ranking of frames.
            warnings.simplefilter("ignore")
            # Points are rounded to frames afterwards: random ones suffice, without a gradient search.
            point = acquisition.suggest(
                process, space, n_random=64 * self.length, n_smart=0, random_state=np.random.RandomState(seed)
            )
        return [round(float(value)) for value in point]

    def _untried(self, point: list[int]) -> tuple[int, ...]:
        """Turn a point into a set of distinct frames that is new: the nearest free frames replace repeated ones."""
        chosen: list[int] = []
        for place in point:
            free = [i for i in range(self.length) if i not in chosen]
            chosen.append(min(free, key=lambda i: (abs(i - place), i)))
        wanted = tuple(sorted(chosen))
        if wanted not in self.tried:
            return wanted
        for moved in range(self.count - 1, -1, -1):
            free = [i for i in range(self.length) if i not in wanted]
            for place in sorted(free, key=lambda i: (abs(i - wanted[moved]), i)):
                changed = tuple(sorted([*wanted[:moved], place, *wanted[moved + 1 :]]))
                if changed not in self.tried:
                    return changed
        return next(s for s in itertools.combinations(range(self.length), self.count) if s not in self.tried)


def _library(length: int, count: int) -> tuple[Any, Any, Any]:
    """Return a fresh acquisition, space and Gaussian process.

    Raises:
        AdvvidError: if the optional package is not installed.
    """
    try:
        from bayes_opt.acquisition import ExpectedImprovement
        from bayes_opt.target_space import TargetSpace
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import Matern
    except ImportError as error:
        raise AdvvidError(
            f"key_frame=bayesian needs the package bayesian-optimization ({error}): install it with pip install "
            "bayesian-optimization, or choose key_frame=first"
        ) from None
    bounds = {f"frame{i:03d}": (-0.5, length - 0.5) for i in range(count)}
    kernel = Matern(nu=2.5, length_scale=length / 8)
    process = GaussianProcessRegressor(kernel=kernel, alpha=1e-6, normalize_y=True)
    return ExpectedImprovement(xi=0.0), TargetSpace(None, bounds, allow_duplicate_points=True), process
