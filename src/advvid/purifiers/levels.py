"""Filters of values: grey levels rounded, compressed, spread or covered by noise; and no filter at all."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from advvid.core.kinds import ShareNumber
from advvid.purifiers.base import Generators, Purifier, on_frames, per_clip


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


# Luma of ITU-R BT.601, what JPEG and most video files use.
LUMA = (0.299, 0.587, 0.114)


class Grayscale(Purifier):
    """Replace every colour by its luma (Lo & Patel's list, after Raff et al. 2019).

    Shape:
        clips ``[B, 3, T, H, W]``, the three channels equal afterwards.
    """

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return grey clips."""
        luma = (clips * clips.new_tensor(LUMA).view(3, 1, 1, 1)).sum(dim=1, keepdim=True)
        return luma.expand_as(clips)


class BitDepth(Purifier):
    """Round every value to one of ``2 ** bits`` equally spaced levels (Lo & Patel, halftone table).

    Args:
        bits: per channel.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``.

    Example:
        >>> BitDepth(bits=1)(torch.tensor([0.2, 0.7]).expand(1, 3, 1, 1, 2))[0, 0]
        tensor([[[0., 1.]]])
    """

    differentiable = False

    def __init__(self, bits: Annotated[int, Ge(1), Le(16)] = 4, surrogate: nn.Module | None = None) -> None:
        super().__init__(surrogate)
        self.bits = bits

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return rounded clips."""
        steps = 2**self.bits - 1
        return (clips * steps).round() / steps


class Jpeg(Purifier):
    """Write every frame as a JPEG picture and read it back (Lo & Patel, halftone table), by libjpeg.

    Args:
        quality: 1 (worst) to 100.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``; computed on the CPU.
    """

    differentiable = False

    def __init__(self, quality: Annotated[int, Ge(1), Le(100)] = 75, surrogate: nn.Module | None = None) -> None:
        super().__init__(surrogate)
        self.quality = quality

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips as they are read back."""

        def there_and_back(frames: Tensor) -> Tensor:
            levels = (frames * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous()
            files = encode_jpeg(list(levels), self.quality) if len(levels) else []
            read = [decode_jpeg(file, mode=ImageReadMode.RGB) for file in files]
            return (torch.stack(read) if read else levels).to(frames.device).to(frames.dtype) / 255

        return on_frames(clips, there_and_back)


class HistogramEqualization(Purifier):
    """Spread the grey levels of every frame so that each is about as frequent (Lo & Patel's list: contrast).

    The levels are spread as OpenCV does. Pillow and torchvision divide whole numbers, which leaves small frames as they
    are.

    Args:
        channels: ``luma`` equalises the brightness and leaves the colours; ``each`` treats every channel by itself.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``, rounded to 8 bits on the way.
    """

    differentiable = False

    def __init__(self, channels: Literal["luma", "each"] = "luma", surrogate: nn.Module | None = None) -> None:
        super().__init__(surrogate)
        self.channels = channels

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return clips with equalised frames."""
        return on_frames(clips, _equalized if self.channels == "each" else _brightened)


def _equalized(frames: Tensor) -> Tensor:
    """Replace each level by the share of pixels below it, so that the darkest becomes 0 and the brightest 1."""
    levels = (frames * 255).round().clamp(0, 255).long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], 256, device=frames.device, dtype=torch.int64)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    up_to = counts.cumsum(dim=2)
    darkest = up_to.gather(2, levels.amin(dim=2, keepdim=True))
    rest = (levels.shape[2] - darkest).clamp(min=1)
    spread = ((up_to - darkest).clamp(min=0).to(frames.dtype) / rest * 255).round() / 255
    # A flat picture has nothing to spread.
    flat = levels.amin(dim=2, keepdim=True) == levels.amax(dim=2, keepdim=True)
    found = torch.where(flat, levels.to(frames.dtype) / 255, spread.gather(2, levels))
    return found.view_as(frames)


def _brightened(frames: Tensor) -> Tensor:
    luma = (frames * frames.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
    # The same amount on red, green and blue changes the luma alone, and leaves both differences of colour.
    return frames + _equalized(luma) - luma


class NoiseInjection(Purifier):
    """Add noise to every value, drawn anew each time (Lo & Patel's list, after Raff et al. 2019).

    Random: an attack averages over draws (EOT).

    Args:
        std: standard deviation of the noise.
        kind: ``gaussian``; ``uniform``; ``speckle``, which is Gaussian and in proportion to the value.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    random = True

    def __init__(
        self, std: ShareNumber = "8/255", kind: Literal["gaussian", "uniform", "speckle"] = "gaussian"
    ) -> None:
        super().__init__()
        self.std = float(std)
        self.kind = kind

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return noisy clips."""
        shape = clips.shape[1:]

        def draw(generator: torch.Generator | None) -> Tensor:
            if self.kind == "uniform":
                # An interval of width 1 has a variance of 1/12.
                return (torch.rand(shape, generator=generator) - 0.5) * 12**0.5
            return torch.randn(shape, generator=generator)

        noise = self.std * per_clip(clips, generators, draw)
        return clips + (clips * noise if self.kind == "speckle" else noise)


class FFTPerturbation(Purifier):
    """Scale every Fourier coefficient of each frame at random, and drop some (Lo & Patel's list, after Raff et al. 2019).

    Random: an attack averages over draws (EOT). A frame's mean stays as it is.

    Args:
        spread: a coefficient is multiplied by a number drawn evenly from ``1 - spread`` to ``1 + spread``.
        drop: probability that it is set to zero instead.

    Shape:
        clips ``[B, 3, T, H, W]``; each channel by itself.
    """

    random = True

    def __init__(self, spread: ShareNumber = 0.1, drop: ShareNumber = 0.1) -> None:
        super().__init__()
        self.spread = float(spread)
        self.drop = float(drop)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips with perturbed spectra."""
        spectrum = torch.fft.rfft2(clips)
        shape = spectrum.shape[1:]

        def draw(generator: torch.Generator | None) -> Tensor:
            factors = 1 + self.spread * (2 * torch.rand(shape, generator=generator) - 1)
            kept = torch.rand(shape, generator=generator) >= self.drop
            factors = factors * kept
            factors[..., 0, 0] = 1
            return factors

        factors = per_clip(clips, generators, draw).to(clips.dtype)
        return torch.fft.irfft2(spectrum * factors, s=clips.shape[-2:])
