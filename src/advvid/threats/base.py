"""What an adversary is allowed to do, apart from how it searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from advvid.core.batch import Space

# Choices that belong to each clip (a patch's place, say): tensors whose first dimension is the batch.
Aux = dict[str, Tensor]

# The norms of a whole clip.
Norm = Literal["linf", "l2"]
AnyNorm = Literal["linf", "l2", "l1", "l0"]

# Float32 rounding of x + delta - x near 1 is about 6e-8 a value; this is the room that the re-check leaves,
# a thousandth of one grey level.
TOLERANCE = 4e-6


class Threat(Protocol):
    """A set of allowed clips around each clean clip.

    ``aux`` carries what was chosen for each clip by ``sample``. Checks without ``aux`` ask whether *some*
    allowed choice explains the clip.

    Shape:
        x, x_adv, grad: ``[B, 3, T, H, W]``; one generator per clip.
    """

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw the per-clip choices of the set (none for a norm ball)."""

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return a random member of the set for each clip."""

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Take the step of this length that gains most to first order; the result is not yet projected."""

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Return the nearest allowed clip; doing it twice changes nothing."""

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips are allowed, ``bool [B]``; NaN never is."""

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Measure how far each clip went, ``[B]``, in the set's own measure."""

    @property
    def budget(self) -> str:
        """The set in words."""


@runtime_checkable
class Boxed(Protocol):
    """A threat whose set around a clip is a box: every value has an interval of its own.

    To project on it is to clamp to bounds that stay the same during a search.
    """

    def box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the largest allowed value of every pixel, both like ``x``."""


def budget_at(threat: Threat, shape: Sequence[int]) -> str:
    """Return the set in words, with what it comes to for clips of a shape where that depends on their size.

    Args:
        threat: a set; ``size_at(shape)``, where it has that, says what its size is there.
        shape: of a clip, ``(3, T, H, W)``.

    Example:
        >>> budget_at(L2Ball(2.0), (3, 8, 32, 32))     # doctest: +SKIP
        'l2 2 over the clip (at 8 x 32 x 32: 3.25 grey levels root mean square)'
    """
    size_at = getattr(threat, "size_at", None)
    size = size_at(shape) if size_at else ""
    return f"{threat.budget} (at {' x '.join(map(str, shape[1:]))}: {size})" if size else threat.budget


def root_mean_square(value: float, space: Space) -> str:
    """Say how much a value changes in root mean square: in grey levels, or in units of values that are no pixels."""
    return f"{255 * value:.3g} grey levels root mean square" if space == Space() else f"{value:.3g} root mean square"


def per_clip(values: Tensor, like: Tensor) -> Tensor:
    """Shape ``[B]`` values so that they broadcast over ``[B, ...]``."""
    return values.view(-1, *[1] * (like.dim() - 1))


def draw(
    kind: Literal["rand", "randn"], shape: Sequence[int], generators: Sequence[torch.Generator], like: Tensor
) -> Tensor:
    """Draw ``rand`` or ``randn`` of ``shape`` for each clip from its own generator.

    Shape:
        result: ``[B, *shape]`` on the device and in the type of ``like``.

    The numbers are drawn where ``like`` lies: on a CPU by the generators themselves, on a GPU by its counter-based generator
    (Philox), which each clip's own generator seeds. A clip's numbers depend on its generator alone on either, but those of a
    GPU are not those of a CPU.
    """
    function = {"rand": torch.rand, "randn": torch.randn}[kind]
    place = drawn_on(like.device)
    noise = torch.empty(len(generators), *shape, device=place)
    for row, generator in zip(noise, generators, strict=True):
        function(tuple(shape), generator=_source(generator, place), out=row)
    return noise.to(like.device, like.dtype, non_blocking=True)


def drawn_on(device: torch.device) -> torch.device:
    """Return where random numbers for a device are drawn: on itself where it is a GPU, else on the CPU."""
    return device if device.type == "cuda" else torch.device("cpu")


def _source(generator: torch.Generator, place: torch.device) -> torch.Generator:
    """Return a clip's generator on a device; another one each time that it is asked for."""
    if place.type == "cpu":
        return generator
    return torch.Generator(place).manual_seed(int(torch.randint(2**62, (), generator=generator)))


def grey_levels(eps: float) -> str:
    """Write a budget in [0, 1] as grey levels: ``8/255`` where it is one, else ``7.5/255``."""
    level = round(eps * 255, 3)
    return f"{level:g}/255"
