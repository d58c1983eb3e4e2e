"""Blur of lenses and of movement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.corruption import Corruption, pixels

# By severity, in pixels at 224 x 224, those of ImageNet-C, which Schiappa et al. 2022 use.
SIGMA = (1.0, 2.0, 3.0, 4.0, 6.0)
DISC = ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))  # radius, and sigma of the blur of its rim
MOTION = ((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0))  # length, and sigma along it
ZOOM = ((1.10, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03))  # largest factor, and step
FINE = 9  # samples of the disc along each side of a pixel
PLACES = 16  # samples along the path of a movement


@dataclass(frozen=True, kw_only=True)
class BlurCorruption(Corruption):
    """Every frame blurred alike (Schiappa et al. 2022, blur; kernels as in Hendrycks & Dietterich 2019).

    ``gaussian``: a bell of this sigma. ``defocus``: a disc, as a lens out of focus makes it. ``motion``: along a line whose
    angle, within 45 degrees of the horizontal, is drawn once for a clip. ``zoom``: the mean over enlarged copies.

    On frames smaller than 224 a bell or disc may be smaller than a pixel. As one pixel there stands for several, light leaves
    from all of it: so a frame is blurred as one of 224 pixels would be that is made smaller afterwards.

    Args:
        kind: of blur.
        severity: see ``Corruption``.

    Example:
        >>> BlurCorruption(kind="zoom").threat.budget
        'corruption: zoom blur, severity 3 of 5'
    """

    kind: Literal["gaussian", "defocus", "motion", "zoom"] = "gaussian"

    @property
    def words(self) -> str:
        """The kind of corruption in words."""
        return f"{self.kind} blur"

    def corrupt(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Return one blurred clip."""
        frames, at = clip.transpose(0, 1), self.severity - 1  # [T, 3, H, W]
        small = pixels(clip, 1) < 1
        if self.kind == "gaussian":
            made = _gaussian(frames, bell(pixels(clip, SIGMA[at]), small))
        elif self.kind == "defocus":
            radius, rim = (pixels(clip, size) for size in DISC[at])
            made = _gaussian(_convolved(frames, disc(radius, small)), bell(rim))
        elif self.kind == "motion":
            length, sigma = (pixels(clip, size) for size in MOTION[at])
            angle = math.radians(90 * float(torch.rand((), generator=generator)) - 45)
            made = _along(frames, length, sigma, angle)
        else:
            largest, step = ZOOM[at]
            factors = [1 + step * k for k in range(round((largest - 1) / step) + 1)]
            copies = [moved(frames, torch.eye(2) / factor, torch.zeros(2)) for factor in factors]
            made = torch.stack([frames, *copies]).mean(dim=0)
        return made.transpose(0, 1)


def disc(radius: float, whole: bool = False) -> Tensor:
    """Return a square kernel of weights that sum to 1: the share of each pixel that a disc covers.

    Args:
        radius: in pixels.
        whole: light leaves from all of a pixel, not from its middle alone; else a disc within a pixel blurs nothing.

    Example:
        >>> disc(0.4).shape, round(float(disc(0.4)[1, 1]), 3), round(float(disc(0.4, whole=True)[1, 1]), 2)
        (torch.Size([3, 3]), 1.0, 0.71)
    """
    half = max(1, math.ceil(radius if whole else radius - 0.5))
    places = (torch.arange((2 * half + 1) * FINE) + 0.5) / FINE - half - 0.5
    inside = (places[:, None].square() + places[None].square() <= max(radius, 0.5 / FINE) ** 2).float()[None, None]
    if whole:
        inside = F.avg_pool2d(inside, FINE, stride=1, padding=FINE // 2)
    covered = F.avg_pool2d(inside, FINE)[0, 0]
    return (covered + covered.T) / (2 * covered.sum())


def bell(sigma: float, whole: bool = False) -> Tensor:
    """Return the weights of a Gaussian blur along one side, which sum to 1.

    Args:
        sigma: in pixels.
        whole: see ``disc``; the weights are then second differences of the bell's second integral.

    Example:
        >>> [round(float(weight), 3) for weight in bell(0.2, whole=True)]
        [0.0, 0.08, 0.84, 0.08, 0.0]
    """
    reach = math.ceil(4 * sigma) + whole
    places = torch.arange(-reach - whole, reach + whole + 1, dtype=torch.float64) / sigma
    density = torch.exp(-places.square() / 2)
    if whole:
        density = (places * torch.special.ndtr(places) + density / math.tau**0.5).diff(n=2)
    return (density / density.sum()).float()


def moved(frames: Tensor, matrix: Tensor, shift: Tensor, outside: Literal["border", "zeros"] = "border") -> Tensor:
    """Let each pixel look up its colour at ``matrix @ place + shift``, counted from the middle of the frame.

    Args:
        frames: pictures.
        matrix: ``[2, 2]``, or one for each frame; x before y.
        shift: ``[2]``, or one for each frame, in pixels.
        outside: what lies there: the nearest pixel of the edge, or black.

    Shape:
        frames: ``[T, 3, H, W]``; the result is alike.
    """
    count, _, height, width = frames.shape
    half = torch.tensor([width, height]) / 2
    # grid_sample counts from -1 to 1 along each side, whatever the sides measure.
    turn, step = (matrix * half / half[:, None]).expand(count, 2, 2), (shift / half).expand(count, 2)
    places = F.affine_grid(torch.cat([turn, step[..., None]], dim=2), list(frames.shape), align_corners=False)
    return F.grid_sample(frames, places, mode="bilinear", padding_mode=outside, align_corners=False)


def _convolved(frames: Tensor, kernel: Tensor) -> Tensor:
    rows, columns = (side // 2 for side in kernel.shape)
    padded = F.pad(frames, (columns, columns, rows, rows), mode="replicate")
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None]).view_as(frames)


def _gaussian(frames: Tensor, weights: Tensor) -> Tensor:
    return _convolved(_convolved(frames, weights[:, None]), weights[None])


def _along(frames: Tensor, length: float, sigma: float, angle: float) -> Tensor:
    """Return the mean of copies moved along a line, weighted by half a bell (as ImageMagick's motion blur)."""
    steps = torch.linspace(0, length, PLACES)
    weights = torch.exp(-steps.square() / (2 * sigma**2))
    direction = torch.tensor([math.cos(angle), math.sin(angle)])
    total = torch.zeros_like(frames)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        total += weight * moved(frames, torch.eye(2), step * direction)
    return total
