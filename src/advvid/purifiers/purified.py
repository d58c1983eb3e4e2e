"""Purifiers in front of a model, as it is scored and as attackers see it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advvid.core.batch import derive_seed
from advvid.core.errors import AdvvidError
from advvid.purifiers.base import Generators, Purifier

# Odd, so that no bit of a value is lost; see ``content_seeds``.
_FACTOR = 0x9E3779B97F4A7C15 - 2**64
# Far above what rounding does to the mean of a clip, far below what an attack does to it.
MEAN_STEP = 1e-5


class PurifiedModel(nn.Module):
    """Clips pass every purifier in turn, and then the model.

    Gradients flow through: exactly where a purifier is differentiable, by its stand-in where it is not (BPDA).
    Random purifiers draw from generators made of the seed and the clip's own values. A clip's answer therefore depends
    on nothing else, neither on its batch nor on how often it was asked. Any change of the clip draws anew for an
    attacker; for the scoring any change of its mean by ``MEAN_STEP``, so that a last bit more or less, as batches of
    another size give, is no other draw. The two have different keys: no attack knows the numbers that it is judged by.

    Args:
        purifiers: in order.
        model: maps clips to the task's output; not copied.
        seed: of the draws.
        frames: of one view; where a video has several, laid one after the other in time, purifiers see them one by one.
        draws: 0 for the system as it is scored, which draws once per clip; otherwise an attacker's view of it, whose
            output is the mean over this many draws of his own (EOT, Athalye et al. 2018, sec. 4.2), or the output
            itself where nothing is random.

    Shape:
        clips ``[B, 3, views * T, H, W]`` in [0, 1]; returns what the model returns.

    Example:
        >>> PurifiedModel([Grayscale()], nn.Flatten())(torch.rand(2, 3, 1, 2, 2)).shape     # doctest: +SKIP
        torch.Size([2, 12])
    """

    settings: Tensor

    def __init__(
        self, purifiers: Sequence[Purifier], model: nn.Module, seed: int = 0, frames: int | None = None, draws: int = 0
    ) -> None:
        super().__init__()
        self.purifiers, self.model = nn.ModuleList(purifiers), model
        self.seed, self.frames, self.draws = seed, frames, draws
        self.random = any(purifier.random for purifier in purifiers)
        # Part of the state, so that whatever is kept under a hash of the weights is kept under these as well.
        words = [purifier.settings for purifier in purifiers]
        self.register_buffer("settings", torch.tensor(derive_seed(seed, frames, draws if self.random else 0, *words)))

    @property
    def passes(self) -> int:
        """How often the model is asked for one answer."""
        return self.draws if self.random and self.draws > 1 else 1

    def view(self, draws: int) -> PurifiedModel:
        """Return the same system as an attacker sees it who averages over this many draws."""
        purifiers = [p for p in self.purifiers if isinstance(p, Purifier)]
        seen = PurifiedModel(purifiers, self.model, self.seed, self.frames, draws)
        return seen.to(self.settings.device).train(self.training)

    def purify(self, clips: Tensor, draw: int = 0, own_draws: bool = True) -> Tensor:
        """Return the clips as the model gets them.

        Args:
            clips: see the class.
            draw: which one of an attacker's draws.
            own_draws: False draws from PyTorch's own generator in place of the clips' values.
        """
        if not len(clips):
            return clips
        frames = self.frames or clips.shape[2]
        views = clips.unflatten(2, (-1, frames)).transpose(1, 2).flatten(0, 1)
        generators = self._generators(views, draw) if self.random and own_draws else None
        for purifier in self.purifiers:
            given, views = views.shape, purifier(views, generators)
            if views.shape != given:
                raise AdvvidError(
                    f"the purifier {type(purifier).__name__} returned clips of shape {tuple(views.shape)} for clips of shape "
                    f"{tuple(given)}: it owes clips of the same shape"
                )
        return views.unflatten(0, (len(clips), -1)).transpose(1, 2).flatten(2, 3)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the model's answer to the purified clips."""
        if self.passes == 1:
            return self.model(self.purify(clips))
        return torch.stack([self.model(self.purify(clips, draw)) for draw in range(self.passes)]).mean(dim=0)

    def _generators(self, clips: Tensor, draw: int) -> Generators:
        if self.draws == 0:
            means = clips.detach().double().flatten(1).mean(dim=1)
            seeds = [derive_seed("scoring", self.seed, level) for level in (means / MEAN_STEP).round().long().tolist()]
        else:
            seeds = [derive_seed("attacker", self.seed, draw, content) for content in content_seeds(clips)]
        return [torch.Generator().manual_seed(seed) for seed in seeds]


def content_seeds(clips: Tensor) -> list[int]:
    """Return a whole number for each clip that depends on all of its values, bit by bit, and on nothing else.

    Computed on the clips' device, in integers, so that the order of the sum does not matter.
    """
    bits = clips.detach().float().contiguous().flatten(1).view(torch.int32).long()
    places = torch.arange(1, bits.shape[1] + 1, device=bits.device) * _FACTOR
    mixed = (bits ^ places) * _FACTOR
    mixed = (mixed ^ (mixed >> 29)) * _FACTOR
    return [int(total) for total in mixed.sum(dim=1).tolist()]
