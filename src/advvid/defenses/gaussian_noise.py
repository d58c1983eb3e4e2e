"""Training on noisy clips, which randomised smoothing asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch, clip_generators
from advvid.core.kinds import NotNegativeNumber
from advvid.defenses.base import Defense, Logs, Step
from advvid.threats.base import draw


@dataclass(kw_only=True)
class GaussianNoise(Defense):
    """Training on clips with Gaussian noise that is not clamped (Cohen et al. 2019, sec. 3.3). Cost per clip: 1 pass.

    A model that is certified by ``analysis=smoothing`` has to answer on noisy clips; the noise of training is that of the
    certificate.

    Args:
        sigma: standard deviation of the noise of each value, a number or a fraction.

    Example:
        >>> GaussianNoise(sigma=0.25).objective(model, batch, {}, step)     # doctest: +SKIP
    """

    sigma: NotNegativeNumber = 0.1

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss on noisy clips; the noise of a clip depends on the step and its id alone."""
        generators = clip_generators(step.seed, step.key, batch.ids)
        noise = draw("randn", batch.inputs.shape[1:], generators, batch.inputs)
        return self.fit_to(model, batch.inputs + float(self.sigma) * noise, batch.target, passes=1)
