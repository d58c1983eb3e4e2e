"""The two networks of 3D APE-GAN: one that takes perturbations out of clips, one that tells its clips from clean ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count

# Kernel, stride and padding of a stage that halves time, height and width, or doubles them.
HALVE = (4, 2, 1)


@checked
class Generator(nn.Module):
    """Clips to clips (Kinfu & Vidal, sec. 4.3; the layers and widths are those of the paper's code).

    Convolutions halve time, height and width while the channels grow to ``width``, 2 and 4 times that; as many transposed
    ones lead back; BatchNorm and LeakyReLU(0.01) between. Clips of any length and size: edges are repeated up to a
    multiple of eight (for three stages) and cut off again.

    Args:
        width: channels of the first stage; 64 in the paper's code.
        stages: how often the size is halved; 3 in the paper's code.
        residual: add what comes out to the clip, from a last layer of zeros, so that the untrained generator is the
            identity. False, as in the paper's code: a sigmoid gives the clip anew. What is added is not cut to [0, 1],
            since that would take the gradient away from an attack where it cuts.
        skips: on the way back, add the features of the same size from the way there. Without them, as in the paper's
            code, everything passes through the smallest size.

    Raises:
        AdvvidError: if ``width`` or ``stages`` is below 1, or what it is given is no clip.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1]; returns the same shape.

    Example:
        >>> clips = torch.rand(2, 3, 8, 32, 32)
        >>> bool((Generator(width=4, residual=True)(clips) == clips).all())
        True
    """

    def __init__(
        self, width: Count = 64, stages: Annotated[int, Ge(1), Le(16)] = 3, residual: bool = False, skips: bool = False
    ) -> None:
        super().__init__()
        self.stages, self.residual, self.skips = stages, residual, skips
        sizes = [width * 2**stage for stage in range(stages)]
        self.down = nn.ModuleList(_stage(nn.Conv3d(a, b, *HALVE)) for a, b in pairwise([3, *sizes]))
        self.up = nn.ModuleList(_stage(nn.ConvTranspose3d(a, b, *HALVE)) for a, b in pairwise(sizes[::-1]))
        self.last = nn.ConvTranspose3d(width, 3, *HALVE)
        if residual:
            for weight in self.last.parameters():
                nn.init.zeros_(weight)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the clips without what does not belong there."""
        if clips.ndim != 5:
            raise AdvvidError(
                f"the generator takes clips [B, 3, T, H, W], not {list(clips.shape)}: choose a data set of clips, or "
                "another defense"
            )
        unit = 2**self.stages
        whole = [-(-n // unit) * unit for n in clips.shape[2:]]
        edges = [e for n, to in zip(clips.shape[:1:-1], whole[::-1], strict=True) for e in (0, to - n)]
        padded = functional.pad(clips, edges, mode="replicate") if any(edges) else clips
        x, seen = padded, []
        for stage in self.down:
            x = stage(x)
            seen.append(x)
        for stage, there in zip(self.up, seen[-2::-1], strict=True):
            x = stage(x) + there if self.skips else stage(x)
        x = self.last(x)[..., : clips.shape[2], : clips.shape[3], : clips.shape[4]]
        return clips + x if self.residual else x.sigmoid()


@checked
class Discriminator(nn.Module):
    """Clips to one logit each, high for clean clips (Kinfu & Vidal, eq. 9; layers of the paper's code).

    Up to four convolutions without bias, each with BatchNorm and LeakyReLU(0.2), then a linear layer; the sigmoid is
    part of the loss. Axes that have shrunk to one stay so; there are fewer stages where two pixels would not be left of
    a side.

    Args:
        clip_shape: ``(3, T, H, W)`` of its clips.
        width: channels of the first stage, which doubles with each; 64 in the paper's code.

    Raises:
        AdvvidError: if ``width`` is below 1.

    Shape:
        clips ``[B, 3, T, H, W]``; logits ``[B]``.

    Example:
        >>> Discriminator((3, 8, 32, 32), width=4)(torch.rand(2, 3, 8, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(self, clip_shape: Sequence[int], width: Count = 64) -> None:
        super().__init__()
        channels, *size = clip_shape
        stages: list[nn.Module] = []
        for number in range(4):
            if stages and min(size[1:]) < 4:
                break
            axes = [(4, 2, 1) if n > 1 else (1, 1, 0) for n in size]
            kernel, stride, padding = zip(*axes, strict=True)
            wide = width * 2**number
            stages += [
                nn.Conv3d(channels, wide, kernel, stride, padding, bias=False),
                nn.BatchNorm3d(wide),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            size = [max(1, n // 2) for n in size]
            channels = wide
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(channels * size[0] * size[1] * size[2], 1)

    def forward(self, clips: Tensor) -> Tensor:
        """Return a logit per clip."""
        return self.head(self.features(clips).flatten(1)).squeeze(1)


def _stage(conv: nn.Conv3d | nn.ConvTranspose3d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm3d(conv.out_channels), nn.LeakyReLU(0.01, inplace=True))
