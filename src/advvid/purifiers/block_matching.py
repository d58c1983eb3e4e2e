"""Motion of blocks between frames, and the frame that it predicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Weights of red, green and blue in the brightness (ITU-R BT.601), in thousandths: whole numbers add up exactly.
BRIGHTNESS = (299, 587, 114)


@dataclass(frozen=True)
class Match:
    """Where each patch was found.

    Shape:
        predicted: ``[N, 3, H, W]``, the frames put together from what was found.
        vectors: int64 ``[N, h, w, 2]``, how far down and right of its own place.
        chosen: int64 ``[N, h, w]``, in which of the references.
        differences: ``[N, h, w]``, the mean absolute difference of the two patches in levels.
    """

    predicted: Tensor
    vectors: Tensor
    chosen: Tensor
    differences: Tensor


def match(frames: Tensor, references: Tensor, patch: int, search: int) -> Match:
    """Find every patch of frames in references, by least mean absolute difference (Jia et al., eq. 2 and 3).

    Full search over all displacements by up to ``search`` pixels. Among equal differences the shortest displacement
    wins, and then the first reference. Compared is the brightness, in whole levels. A reference continues beyond its
    border with its last pixels, and frames are filled up to whole patches in the same way.

    Args:
        frames: of which the patches are taken.
        references: in which they are looked for.
        patch: side of a patch.
        search: greatest displacement down, up, right and left.

    Shape:
        frames: ``[N, 3, H, W]`` in whole levels from 0 to 255; references: ``[N, R, 3, H, W]``.

    Example:
        >>> frame = torch.arange(64.0).view(1, 1, 8, 8).expand(1, 3, 8, 8)
        >>> match(frame, frame.roll(1, dims=3)[:, None], patch=4, search=1).vectors[0, 0, 0]
        tensor([0, 1])
    """
    count, many, height, width = len(frames), references.shape[1], frames.shape[-2], frames.shape[-1]
    tall, wide = (-(-side // patch) for side in (height, width))
    around = _around(references, patch, search)
    whole = functional.pad(frames, [0, wide * patch - width, 0, tall * patch - height], mode="replicate")
    own, others = _brightness(whole), _brightness(around)

    moves = sorted(
        ((down, across) for down in range(-search, search + 1) for across in range(-search, search + 1)),
        key=lambda move: (move[0] ** 2 + move[1] ** 2, move),
    )
    least = own.new_full((count, tall, wide), torch.inf)
    best = torch.zeros(count, tall, wide, dtype=torch.int64, device=frames.device)
    # Displacement by displacement for all patches of all frames at once.
    for number, (down, across) in enumerate(moves):
        top, left = search + down, search + across
        there = others[..., top : top + tall * patch, left : left + wide * patch]
        for reference in range(many):
            apart = (own - there[:, reference]).abs_().unflatten(-1, (wide, patch)).sum(dim=-1)
            apart = apart.unflatten(-2, (tall, patch)).sum(dim=-2)
            closer = apart < least
            least = torch.where(closer, apart, least)
            best = torch.where(closer, number * many + reference, best)
    vectors = torch.tensor(moves, device=frames.device)[best // many]
    chosen = best % many
    predicted = _fetched(around, vectors + search, chosen, patch)
    return Match(predicted[..., :height, :width], vectors, chosen, least / patch**2)


def follow(references: Tensor, found: Match, patch: int, search: int) -> Tensor:
    """Put frames together from the places that were found, in references that may be others.

    With these places held fixed, gradients flow to the references' pixels.

    Shape:
        references: ``[N, R, 3, H, W]``; the result is ``[N, 3, H, W]``.
    """
    height, width = references.shape[-2:]
    around = _around(references, patch, search)
    return _fetched(around, found.vectors + search, found.chosen, patch)[..., :height, :width]


def _around(references: Tensor, patch: int, search: int) -> Tensor:
    """Continue references beyond their borders, as far as patches are looked for."""
    right, below = (-side % patch for side in (references.shape[-1], references.shape[-2]))
    sides = [search, search + right, search, search + below]
    return functional.pad(references.flatten(0, 1), sides, mode="replicate").unflatten(0, references.shape[:2])


def _brightness(frames: Tensor) -> Tensor:
    weights = frames.new_tensor(BRIGHTNESS).view(3, 1, 1)
    return ((frames * weights).sum(dim=-3) / sum(BRIGHTNESS)).round()


def _fetched(around: Tensor, starts: Tensor, chosen: Tensor, patch: int) -> Tensor:
    """Put frames together from patches of the padded references.

    Shape:
        around: ``[N, R, 3, Hp, Wp]``; starts ``[N, h, w, 2]``, relative to the patch's own place; chosen ``[N, h, w]``.
    """
    count, _, channels, height, width = around.shape
    tall, wide = chosen.shape[1:]
    inside = torch.arange(patch, device=around.device)
    rows = starts[..., 0] + patch * torch.arange(tall, device=around.device)[:, None]
    columns = starts[..., 1] + patch * torch.arange(wide, device=around.device)
    place = (chosen[..., None, None] * height + rows[..., None, None] + inside[:, None]) * width
    place = (place + columns[..., None, None] + inside).transpose(2, 3).reshape(count, 1, -1)
    pixels = around.transpose(1, 2).flatten(2).gather(2, place.expand(-1, channels, -1))
    return pixels.unflatten(2, (tall * patch, wide * patch))
