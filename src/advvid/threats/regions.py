"""Sets that confine the change to a part of the frame: a patch or the border."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from advvid.core.allowed import check_fields
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.balls import LinfBall
from advvid.threats.base import Aux


@dataclass(frozen=True)
class RegionThreat(ABC):
    """An l-inf ball whose change is confined to the pixels of a mask.

    Subclasses say in ``sample`` which mask a clip gets, and in ``fits`` whether some allowed mask covers a change.
    """

    eps: float
    space: Space = field(default_factory=Space)

    @property
    def ball(self) -> LinfBall:
        """The bound on each value inside the region."""
        return LinfBall(self.eps, self.space)

    @abstractmethod
    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Return ``{"mask": ...}``, the pixels that may change: bool, ``[B, 1, 1 or T, H, W]``."""

    @abstractmethod
    def fits(self, changed: Tensor) -> Tensor:
        """Tell whether an allowed region covers the changed pixels (``bool [B, T, H, W]``), as ``bool [B]``."""

    def mask(self, aux: Aux | None) -> Tensor:
        """Return the region that ``sample`` drew, in a shape that broadcasts over clips."""
        if aux is None or "mask" not in aux:
            raise ValueError("this threat needs the mask that its sample() drew")
        return aux["mask"]

    @property
    @abstractmethod
    def where(self) -> str:
        """The region in words."""

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"{self.where}, {self.ball.budget}"

    def size_at(self, shape: Sequence[int]) -> str:
        """Say how large the region is in frames of this size, which whole pixels may make another area than its name's."""
        found = self.extent(*shape[-2:])
        return f"{found[0]} px, {found[1] / math.prod(shape[-2:]):.1%} of the frame" if found else ""

    def extent(self, height: int, width: int) -> tuple[str, int] | None:
        """Return the region's measure in pixels, in words, and how many pixels of a frame it has; None for whole frames."""
        return None

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return noise of the ball inside the region, ``x`` outside."""
        return torch.where(self.mask(aux), self.ball.random_start(x, generators), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Take the ball's step inside the region only."""
        return torch.where(self.mask(aux), self.ball.ascend(x_adv, grad, step_size), x_adv)

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Clamp inside the region and restore the clean pixels outside."""
        return torch.where(self.mask(aux), self.ball.project(x_adv, x), x)

    def covers(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips change pixels of one allowed region only, ``bool [B]``."""
        changed = (x_adv != x).any(dim=1)
        if aux is None:
            return self.fits(changed)
        mask = self.mask(aux)[:, 0].expand_as(changed)
        return self.fits(mask) & ~(changed & ~mask).flatten(1).any(dim=1)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the ball and change pixels of one allowed region only."""
        return self.covers(x_adv, x, aux) & self.ball.contains(x_adv, x)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the largest absolute change in each clip."""
        return self.ball.distance(x_adv, x)


@dataclass(frozen=True)
class Patch(RegionThreat):
    """One rectangle at the same place in all frames (masked PGD, Kinfu & Vidal sec. 2).

    Its sides are the frame's sides times ``sqrt(ratio)``, rounded down as in the published evaluation code, so that
    the area never exceeds its name.

    Args:
        ratio: area of the patch over the area of the frame, in (0, 1].
        location: ``random`` (the paper's words) or ``fixed`` at the top left corner (the evaluation code's setting).
    """

    ratio: float = 0.1
    location: Literal["random", "fixed"] = "random"

    def __post_init__(self) -> None:
        check_fields(self)
        check_ratio(self.ratio)

    @property
    def where(self) -> str:
        """The region in words."""
        return f"patch of {self.ratio:.0%} of the frame"

    def extent(self, height: int, width: int) -> tuple[str, int]:
        """Return the patch's sides and its area."""
        h, w = self.sides(height, width)
        return f"{h} x {w}", h * w

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Return the patch's height and width in pixels, at least 1 each."""
        root = math.sqrt(self.ratio)
        # The small addend keeps sqrt's rounding from losing a pixel where the product is whole.
        return max(1, int(height * root + 1e-9)), max(1, int(width * root + 1e-9))

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw each clip's rectangle."""
        height, width = x.shape[-2:]
        h, w = self.sides(height, width)
        mask = torch.zeros(len(x), 1, 1, height, width, dtype=torch.bool)
        for row, generator in zip(mask, generators, strict=True):
            top, left = 0, 0
            if self.location == "random":
                top = int(torch.randint(height - h + 1, (), generator=generator))
                left = int(torch.randint(width - w + 1, (), generator=generator))
            row[..., top : top + h, left : left + w] = True
        return {"mask": mask.to(x.device, non_blocking=True)}

    def fits(self, changed: Tensor) -> Tensor:
        """Tell whether the changed pixels lie within one rectangle of the patch's size (at the corner if fixed)."""
        return within_rectangle(changed.any(dim=1), *self.sides(*changed.shape[-2:]), fixed=self.location == "fixed")


@dataclass(frozen=True)
class Border(RegionThreat):
    """A frame around the picture, the same in all frames of a clip (Kinfu & Vidal sec. 2; Lo & Patel's framing).

    Args:
        ratio: area of the border over the area of the frame, in (0, 1); ignored where ``width`` is given.
        width: thickness in pixels at 112 x 112, scaled by the shorter side / 112; None to take it from ``ratio``.
        rounding: ``nearest`` (at least 1 pixel) or ``floor`` (the evaluation code's, up to 30% smaller at 112).
    """

    ratio: float = 0.1
    width: float | None = None
    rounding: Literal["nearest", "floor"] = "nearest"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.width is None:
            check_ratio(self.ratio)
        elif self.width <= 0:
            raise AdvvidError(f"width={self.width:g} makes a border of 0 pixels: choose a thickness above 0")

    @property
    def where(self) -> str:
        """The region in words."""
        size = f"{self.ratio:.0%} of the frame" if self.width is None else f"{self.width:g} px at 112 x 112"
        return f"border of {size}"

    def thickness(self, height: int, width: int) -> int:
        """Return the border's thickness in pixels.

        A border of thickness t covers ``2 t (H + W) - 4 t^2`` pixels; t solves that for the wanted area.

        Raises:
            AdvvidError: if the border would have no pixel.
        """
        if self.width is not None:
            exact = self.width * min(height, width) / 112
        else:
            half = height + width
            exact = (2 * half - math.sqrt(4 * half**2 - 16 * self.ratio * height * width)) / 8
        if self.rounding == "floor":
            if exact < 1:
                raise AdvvidError(
                    f"a {self.where} rounds down to 0 pixels at {height} x {width}: raise it or choose rounding=nearest"
                )
            return int(exact)
        return min(max(1, int(exact + 0.5)), (min(height, width) + 1) // 2)

    def extent(self, height: int, width: int) -> tuple[str, int]:
        """Return the border's thickness and its area."""
        t = self.thickness(height, width)
        return f"{t}", height * width - max(0, height - 2 * t) * max(0, width - 2 * t)

    def region(self, height: int, width: int) -> Tensor:
        """Return the border as ``bool [H, W]``."""
        t = self.thickness(height, width)
        mask = torch.ones(height, width, dtype=torch.bool)
        mask[t : height - t, t : width - t] = False
        return mask

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Give every clip the border."""
        mask = self.region(*x.shape[-2:]).to(x.device, non_blocking=True)
        return {"mask": mask.expand(len(x), 1, 1, *mask.shape).clone()}

    def fits(self, changed: Tensor) -> Tensor:
        """Tell whether only border pixels changed."""
        mask = self.region(*changed.shape[-2:]).to(changed.device, non_blocking=True)
        return ~(changed & ~mask).flatten(1).any(dim=1)


def check_ratio(ratio: float) -> None:
    """Refuse an area ratio that no part of a frame can have."""
    if not 0 < ratio <= 1:
        raise AdvvidError(f"ratio={ratio:g} is not a part of the frame: choose a number above 0 and at most 1")


def within_rectangle(changed: Tensor, height: int, width: int, fixed: bool = False) -> Tensor:
    """Tell whether the changed pixels lie within one rectangle of these sides.

    Args:
        changed: ``bool [N, H, W]``.
        height: of the rectangle, in pixels.
        width: of the rectangle, in pixels.
        fixed: the rectangle sits in the top left corner rather than anywhere.
    """
    result = torch.ones(len(changed), dtype=torch.bool, device=changed.device)
    for dim, side in ((2, height), (1, width)):
        line = changed.any(dim=dim)  # [N, H], then [N, W]
        index = torch.arange(line.shape[1], device=changed.device)
        last = torch.where(line, index, -1).amax(dim=1)
        first = torch.where(line, index, line.shape[1]).amin(dim=1)
        if fixed:
            first = torch.zeros_like(first)
        result &= (last - first < side) | (last < 0)
    return result
