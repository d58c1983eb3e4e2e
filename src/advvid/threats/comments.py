"""White text over a clip, as viewers' comments that run across it: what may be written, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.base import TOLERANCE, Aux, draw, per_clip

# Height of letters in pixels below which they are none.
SMALLEST = 5


@dataclass(frozen=True)
class Comments:
    """Lines of white text, each at a place of its own, which all run to the left at one speed (Chen et al. 2021).

    Free are the place of each line in the first frame and its opacity. A line's place is whole pixels with the line inside
    the frame, or at its left border where the line is too long.

    Args:
        texts: the lines, drawn one over the other.
        size: height of the letters in pixels at 112 x 112, scaled by the shorter side / 112 and at least 5.
        opacity: largest part of white in a letter, in (0, 1].
        speed: pixels per frame to the left at 112 x 112, scaled likewise.
        space: range of valid pixels; white is its upper end.

    Shape:
        ``aux["lines"]``: ``[B, L, 3]`` in [0, 1]: how far down and across a line begins, as parts of the room that it has, and its
        opacity as a part of the largest.

    Example:
        >>> Comments(("hello",), opacity=0.5).budget
        '1 line of white text, 10 px at 112 x 112, opacity 0.5'
    """

    texts: tuple[str, ...]
    size: float = 10.0
    opacity: float = 0.7
    speed: float = 1.0
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if not self.texts or not all(text.strip() for text in self.texts):
            raise AdvvidError("texts has an empty line or none: give words to write, such as ['well done']")
        if not 0 < self.opacity <= 1:
            raise AdvvidError(f"opacity={self.opacity:g} is no part of white: choose a number above 0 and at most 1")

    @property
    def budget(self) -> str:
        """The set in words."""
        lines = f"{len(self.texts)} line{'s' * (len(self.texts) > 1)}"
        return f"{lines} of white text, {self.size:g} px at 112 x 112, opacity {self.opacity:g}"

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw the place and the opacity of every line uniformly."""
        return {"lines": draw("rand", (len(self.texts), 3), generators, x)}

    def nothing(self, x: Tensor) -> Tensor:
        """Return lines ``[B, L, 3]`` without opacity, which leave a clip as it is."""
        return x.new_zeros(len(x), len(self.texts), 3)

    def written(self, x: Tensor, lines: Tensor) -> Tensor:
        """Return clips ``[B, 3, T, H, W]`` with the lines written over them."""
        white = torch.full_like(x, self.space.high)
        return self.space.clamp(x + self.cover(x, lines) * (white - x), x)

    def cover(self, x: Tensor, lines: Tensor) -> Tensor:
        """Return how much of each pixel is white, ``[B, 1, T, H, W]``."""
        frames, height, width = x.shape[2:]
        scale = min(height, width) / 112
        row, column = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
        run = (torch.arange(frames, device=x.device) * (self.speed * scale)).round().long()
        clear = torch.ones(len(x), frames, height, width, device=x.device)
        for text, line in zip(self.texts, lines.unbind(dim=1), strict=True):
            letters = _letters(text, max(SMALLEST, round(self.size * scale)))
            tall, wide = letters.shape[0] - 2, letters.shape[1] - 2
            top = (line[:, 0] * (max(0, height - tall) + 1)).long().clamp_max(max(0, height - tall))
            left = (line[:, 1] * (max(0, width - wide) + 1)).long().clamp_max(max(0, width - wide))
            # Letters have a rim of nothing, where all places outside lead.
            down = (row - top[:, None] + 1).clamp(0, tall + 1)
            across = (column + run[:, None] - left[:, None, None] + 1).clamp(0, wide + 1)
            mask = letters.to(x.device, non_blocking=True)[down[:, None, :, None], across[:, :, None, :]]
            clear = clear * (1 - per_clip(self.opacity * line[:, 2], clear) * mask)
        return (1 - clear)[:, None].to(x.dtype)

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return clips with the lines of ``aux``, or drawn ones."""
        return self.project(x, x, aux or self.sample(x, generators))

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the sign of the gradient; what is left of that after ``project`` is the text."""
        return x_adv + step_size * grad.sign()

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Return the clip with the lines of ``aux``, the only one that these allow."""
        if aux is None or "lines" not in aux:
            raise ValueError("this threat needs the lines that its sample() drew")
        return self.written(x, aux["lines"])

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips are the clean ones with such lines, ``bool [B]``.

        With ``aux`` its lines are written again and compared. Without, what every text has is checked: pixels only mix with
        white, all colours of one alike, by no more than the lines together allow, and no more of them than there are letters.
        """
        valid = self.space.contains(x_adv, x)
        if aux is not None and "lines" in aux:
            lines = aux["lines"]
            ranged = ((lines >= 0) & (lines <= 1)).flatten(1).all(dim=1)
            return valid & ranged & ((x_adv - self.written(x, lines)).abs().flatten(1).amax(dim=1) <= TOLERANCE)
        room, change = self.space.high - x, x_adv - x
        # The one share of white that explains a pixel best, by least squares over its colours.
        share = (change * room).sum(dim=1, keepdim=True) / room.square().sum(dim=1, keepdim=True).clamp_min(1e-12)
        mixed = ((change - share * room).abs() <= TOLERANCE).flatten(1).all(dim=1)
        most = 1 - (1 - self.opacity) ** len(self.texts)
        fits = ((share >= -1e-4) & (share <= most + 1e-4)).flatten(1).all(dim=1)
        size = max(SMALLEST, round(self.size * min(x.shape[-2:]) / 112))
        letters = sum(int((_letters(text, size) > 0).sum()) for text in self.texts)
        few = (change != 0).any(dim=1).flatten(2).sum(dim=2).amax(dim=1) <= letters
        return valid & mixed & fits & few

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the largest part of any frame's pixels that change."""
        return (x_adv != x).any(dim=1).flatten(2).float().mean(dim=2).amax(dim=1)


@lru_cache(maxsize=64)
def _letters(text: str, size: int) -> Tensor:
    """Return a line of text in [0, 1], ``[rows, columns]``, with a rim of one empty pixel."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    picture = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(picture).text((1 - left, 1 - top), text, fill=255, font=font)
    letters = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    letters[[0, -1]] = 0
    letters[:, [0, -1]] = 0
    return letters
