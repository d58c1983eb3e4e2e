"""What flows between the parts: a batch, and the space it lives in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Space:
    """The interval in which every value of a modality lies (clips: [0, 1]; YouTube-8M features: [-2, 2])."""

    low: float = 0.0
    high: float = 1.0

    @property
    def width(self) -> float:
        """The length of the interval: the largest change that one value can undergo."""
        return self.high - self.low

    def free(self, clean: Tensor) -> Tensor | None:
        """Tell which values of clean inputs an attack may change at all, as a mask that broadcasts; None for all.

        A modality whose inputs are padded overrides this.
        """
        return None

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the modalities that inputs consist of, as views ``[B, ...]``; a clip is one.

        A modality of several streams, such as pictures and sound, overrides this.
        """
        return (x,)

    def clamp(self, x: Tensor, clean: Tensor | None = None) -> Tensor:
        """Return ``x`` with every value moved into the interval; given ``clean``, what is not free is put back."""
        inside, free = x.clamp(self.low, self.high), None if clean is None else self.free(clean)
        return inside if clean is None or free is None else torch.where(free, inside, clean)

    def contains(self, x: Tensor, clean: Tensor | None = None) -> Tensor:
        """Tell per clip whether every value is finite and inside the interval; given ``clean``, also whether it was free.

        Shape:
            x: ``[B, ...]``; result: ``bool [B]``. NaN counts as outside.
        """
        free = None if clean is None else self.free(clean)
        flat = x.flatten(1)
        inside = (flat.amin(dim=1) >= self.low) & (
            flat.amax(dim=1) <= self.high
        )  # NaN is handed on, and is on neither side
        if clean is not None and free is not None:
            inside = inside & (free | (x == clean)).flatten(1).all(dim=1)
        return inside


@dataclass(frozen=True)
class Batch:
    """Clips with their labels and stable names.

    Shape:
        inputs: ``[B, 3, T, H, W]``, uint8 on the way from the loader, float32 in [0, 1] after ``to``.
        target: int64 ``[B]`` (or the task's own form).
        ids: B strings, unique within a split.
        mask: optional ``[B, T]`` of valid frames.
    """

    inputs: Tensor
    target: Tensor
    ids: Sequence[str]
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, index: Tensor) -> Batch:
        """Return the clips of these places."""
        mask = None if self.mask is None else self.mask[index]
        return Batch(self.inputs[index], self.target[index], [self.ids[i] for i in index.tolist()], mask)

    def to(self, device: torch.device | str) -> Batch:
        """Move to ``device``; uint8 inputs travel as bytes and become float32 in [0, 1] there."""
        inputs = self.inputs.to(device, non_blocking=True)
        if inputs.dtype == torch.uint8:
            inputs = inputs.float().div_(255)
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        return Batch(inputs, self.target.to(device, non_blocking=True), self.ids, mask)


def derive_seed(*parts: object) -> int:
    """Hash any mixture of numbers and names into a 63-bit seed, the same on every machine and in every process."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def clip_generators(seed: int, column: str, ids: Sequence[str]) -> list[torch.Generator]:
    """Return one CPU generator per clip, a function of (seed, column, clip id) alone.

    A clip's random numbers therefore do not depend on its batch, its neighbours or the number of processes.
    """
    return [torch.Generator().manual_seed(derive_seed(seed, column, clip)) for clip in ids]
