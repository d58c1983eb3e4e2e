"""No purifier at all."""

from __future__ import annotations

from torch import Tensor

from advvid.purifiers.base import Generators, Purifier


class Identity(Purifier):
    """Change nothing, to the bit: what every table of purifiers is compared with.

    Shape:
        clips ``[B, 3, T, H, W]``.

    Example:
        >>> Identity()(torch.full((1, 3, 1, 1, 1), 0.3)).flatten()
        tensor([0.3000, 0.3000, 0.3000])
    """

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips."""
        return clips
