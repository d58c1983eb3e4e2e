"""Randomised smoothing: what a model answers most often on noisy clips, and how far that answer is proved."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from scipy.stats import beta, binomtest
from torch import Tensor, nn

from advvid.threats.base import draw

# Noisy clips that the model sees at once.
CHUNK = 100


class SmoothedScores(nn.Module):
    """The logarithm of the mean probability over a few noisy clips: what an attacker of the smoothed model climbs.

    ``log mean_k softmax(f(x + sigma n_k))`` with the same noise each time (Salman et al. 2019, eq. 6), so that it has a
    gradient and answers the same twice.

    Args:
        model: logits ``[B, K]`` of clips.
        sigma: standard deviation of the noise.
        noise: standard normal, ``[draws, 3, T, H, W]``.
    """

    noise: Tensor

    def __init__(self, model: nn.Module, sigma: float, noise: Tensor) -> None:
        super().__init__()
        self.model, self.sigma = model, sigma
        self.register_buffer("noise", noise)

    def forward(self, clips: Tensor) -> Tensor:
        """Return scores ``[B, K]``."""
        logs = [self.model(clips + self.sigma * noise).log_softmax(dim=1) for noise in self.noise]
        return torch.stack(logs).logsumexp(dim=0) - math.log(len(logs))


def counts(model: nn.Module, clip: Tensor, sigma: float, draws: int, generator: torch.Generator) -> Tensor:
    """Return how often each class is the answer on noisy copies of one clip (Cohen et al. 2019, SampleUnderNoise).

    Args:
        model: logits ``[B, K]`` of clips.
        clip: ``[3, T, H, W]``.
        sigma: standard deviation of the noise, which is not clamped.
        draws: noisy copies.
        generator: of the noise, on the CPU; on a GPU the noise is drawn there, from a seed that this one gives.

    Shape:
        result: int64 ``[K]``.
    """
    found: Tensor | None = None
    with torch.no_grad():
        for begin in range(0, draws, CHUNK):
            noise = draw("randn", (min(CHUNK, draws - begin), *clip.shape), [generator], clip)[0]
            logits = model(clip + sigma * noise)
            made = torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1])
            found = made if found is None else found + made
    assert found is not None
    return found.cpu()


def lower_bound(hits: int, draws: int, alpha: float) -> float:
    """Return the one-sided lower bound of Clopper & Pearson (1934) on a probability, at confidence ``1 - alpha``.

    Example:
        >>> round(lower_bound(100, 100, 0.001), 4) == round(0.001 ** (1 / 100), 4)
        True
    """
    return float(beta.ppf(alpha, hits, draws - hits + 1)) if hits else 0.0


def certify(
    model: nn.Module, clip: Tensor, sigma: float, draws: tuple[int, int], alpha: float, generator: torch.Generator
) -> tuple[int | None, float]:
    """Return the smoothed model's class and the l2 radius in which it holds (Cohen et al. 2019, Certify; theorem 1).

    The class is guessed from ``draws[0]`` noisy clips and its probability p bounded from below by ``draws[1]`` others;
    ``R = sigma * Phi^-1(p)``. Both are wrong with probability at most alpha.

    Returns:
        class and radius; None and 0 where p is not above 1/2 (it abstains).
    """
    top = int(counts(model, clip, sigma, draws[0], generator).argmax())
    hits = int(counts(model, clip, sigma, draws[1], generator)[top])
    bound = lower_bound(hits, draws[1], alpha)
    return (top, sigma * NormalDist().inv_cdf(bound)) if bound > 0.5 else (None, 0.0)


def predict(
    model: nn.Module, clip: Tensor, sigma: float, draws: int, alpha: float, generator: torch.Generator
) -> int | None:
    """Return the smoothed model's class, None where the two most frequent are too close (Cohen et al. 2019, Predict)."""
    found = counts(model, clip, sigma, draws, generator)
    (first, second), (top, _) = found.topk(2)
    sure = binomtest(int(first), int(first + second), 0.5).pvalue <= alpha
    return int(top) if sure else None
