"""Spatial defense: ComDefend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from advvid.core.kinds import FilePath, Numeral
from advvid.purifiers.base import Generators, Purifier, on_frames, per_clip
from advvid.purifiers.comdefend_networks import CODE, load_networks


class ComDefend(Purifier):
    """Compress every frame to 12 bits per pixel by a network and make it again by another (Jia et al., fig. 5).

    As the authors do it, a frame is cut into patches, noise is added to the code as in training, and the code is rounded
    to bits. Not differentiable, and random unless ``noise`` is 0: attacked by BPDA over draws (EOT). The paper
    takes networks that were trained on CIFAR-10 as they are; here they are trained by ``train_comdefend`` on any
    pictures or frames.

    Args:
        checkpoint: file of the trained networks.
        noise: standard deviation of the Gaussian noise on the code; None for that of the training, 0 for none. The decoder
            has learnt to read shades from noisy bits: without noise pictures come back worse (in a trial 10 dB, not 18).
        patch: side of the patches; None for whole frames.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``. Clip by clip, so that its neighbours change no bit of a clip.

    Raises:
        AdvvidError: without trained networks.

    Example:
        >>> ComDefend("comdefend.pt", noise=0)(torch.rand(1, 3, 8, 32, 32)).shape     # doctest: +SKIP
        torch.Size([1, 3, 8, 32, 32])
    """

    differentiable = False

    def __init__(
        self,
        checkpoint: FilePath | None = None,
        noise: Annotated[float | str, Numeral(), Ge(0), Le(1000)] | None = None,
        patch: Annotated[int, Ge(4), Le(1024)] | None = 32,
        surrogate: nn.Module | None = None,
    ) -> None:
        super().__init__(surrogate)
        self.networks, trained = load_networks(checkpoint)
        self.noise = trained if noise is None else float(noise)
        self.patch = patch
        self.checkpoint, self.random = checkpoint, self.noise > 0

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the frames that come back."""
        length, (height, width) = clips.shape[2], clips.shape[-2:]
        side = self.patch
        tall, wide = (height, width) if side is None else (-(-s // side) * side for s in (height, width))
        noise = None
        if self.random:

            def draw(generator: torch.Generator | None) -> Tensor:
                return torch.randn(length, CODE, tall, wide, generator=generator)

            noise = per_clip(clips, generators, draw) * self.noise

        found = [self._clip(clip[None], None if noise is None else noise[i]) for i, clip in enumerate(clips)]
        return torch.cat(found)[..., :height, :width].to(clips.dtype) if found else clips

    def _clip(self, clip: Tensor, noise: Tensor | None) -> Tensor:
        """Return one clip ``[1, 3, T, H, W]``, filled up to whole patches; noise ``[T, 12, H', W']``."""

        def bits(code: Tensor) -> Tensor:
            return ((code if noise is None else code + _cut(noise, self.patch)) > 0).float()

        return self.pictures(clip, bits)

    def pictures(self, clips: Tensor, bits: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the frames that come back from bits that are made of the code, filled up to whole patches.

        Shape:
            clips: ``[B, 3, T, H, W]``; ``bits`` maps codes of patches ``[N, 12, side, side]`` to values in [0, 1].
        """

        def there_and_back(frames: Tensor) -> Tensor:
            side = self.patch
            if side is not None:
                fill = [0, -frames.shape[-1] % side, 0, -frames.shape[-2] % side]
                frames = functional.pad(frames, fill, mode="replicate")
            shape = frames.shape[-2:]
            return _joined(self.networks.picture(bits(self.networks.code(_cut(frames.float(), side)))), side, shape)

        return on_frames(clips, there_and_back)


def _cut(frames: Tensor, side: int | None) -> Tensor:
    """Cut frames ``[N, C, H, W]`` into patches ``[N * h * w, C, side, side]``."""
    if side is None:
        return frames
    patches = frames.unflatten(-1, (-1, side)).unflatten(-3, (-1, side))
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def _joined(patches: Tensor, side: int | None, shape: torch.Size) -> Tensor:
    """Undo ``_cut``."""
    if side is None:
        return patches
    tall, wide = shape[0] // side, shape[1] // side
    return patches.unflatten(0, (-1, tall, wide)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
