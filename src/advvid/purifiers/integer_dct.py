"""A cosine transform in whole numbers, as video codecs have it: the same bits on every machine."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

# The matrix counts in 2 ** -14, so that sums stay whole numbers below 2 ** 53, which float64 adds without any error.
_MATRIX_BITS = 14
# Coefficients count in eighths of a level: a step of 1 then changes no pixel by half a level.
COEFFICIENT_BITS = 3


def transform(blocks: Tensor) -> Tensor:
    """Return the coefficients of blocks, in eighths of what an orthonormal DCT (Ahmed et al. 1974) gives.

    Shape:
        blocks: ``[..., N, N]`` in whole levels up to 255 in size, N at most 32; the result is float64 whole numbers.

    Example:
        >>> transform(torch.full((4, 4), 10.0))[0, :2]      # 4 * 10, in eighths
        tensor([320.,   0.], dtype=torch.float64)
    """
    matrix = _matrix(blocks.shape[-1]).to(blocks.device)
    return (matrix @ blocks.double() @ matrix.T / 2 ** (2 * _MATRIX_BITS - COEFFICIENT_BITS)).round()


def inverse(coefficients: Tensor) -> Tensor:
    """Return the blocks that have these coefficients, rounded to whole levels.

    Shape:
        coefficients: ``[..., N, N]``; the result is float64 whole numbers.
    """
    matrix = _matrix(coefficients.shape[-1]).to(coefficients.device)
    return (matrix.T @ coefficients @ matrix / 2 ** (2 * _MATRIX_BITS + COEFFICIENT_BITS)).round()


def coarsened(frames: Tensor, patch: int, quantiser: int) -> Tensor:
    """Round the coefficients of every patch to multiples of a quantiser and transform back.

    Args:
        frames: that are a whole number of patches wide and high.
        patch: side of a patch, at most 32.
        quantiser: in eighths of a level; 1 gives the frames back.

    Shape:
        frames: ``[..., H, W]`` in whole levels from -255 to 255; the result is alike.
    """
    blocks = frames.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch)).transpose(-3, -2)
    coefficients = (transform(blocks) / quantiser).round() * quantiser
    return inverse(coefficients).transpose(-3, -2).flatten(-4, -3).flatten(-2, -1).to(frames.dtype)


@cache
def _matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II in whole ``2 ** -14``."""
    return (cosines(size) * 2**_MATRIX_BITS).round()


def cosines(size: int) -> Tensor:
    """Return the orthonormal DCT-II, float64 ``[N, N]``, rows from the lowest frequency."""
    place, wave = torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64)[:, None]
    rows = math.sqrt(2 / size) * torch.cos(math.pi * (place + 0.5) * wave / size)
    rows[0] /= math.sqrt(2)
    return rows
