"""A split of pictures, each a clip of one frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from advvid.core import digests
from advvid.core.batch import derive_seed


class ImageClips(Dataset[tuple[Tensor, int, str]]):
    """Pictures that lie in memory, as clips of one frame.

    Args:
        pictures: uint8 ``[n, 3, H, W]``.
        targets: labels.
        ids: unique names.
        shift: largest shift of a training picture in pixels; black comes in at the border.
        flip: probability of a mirrored training picture.
    """

    def __init__(
        self, pictures: Tensor, targets: Sequence[int], ids: Sequence[str], shift: int = 0, flip: float = 0.0
    ) -> None:
        self.pictures, self.targets, self.ids = pictures, list(targets), list(ids)
        self.shift, self.flip = shift, flip

    def __len__(self) -> int:
        return len(self.pictures)

    def digests(self) -> list[str]:
        """Return what each picture holds; see ``advvid.data.content.clip_digests``."""
        return [digests.of_array(picture) for picture in self.pictures]

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int, str]:
        """Return (clip uint8 ``[3, 1, H, W]``, label, id); see ``advvid.data.loader.Clips`` for the key."""
        index, draw = key if isinstance(key, tuple) else (key, None)
        picture = self.pictures[index]
        if draw is not None:
            picture = self._changed(picture, torch.Generator().manual_seed(draw))
        return picture.unsqueeze(1), self.targets[index], self.ids[index]

    def _changed(self, picture: Tensor, generator: torch.Generator) -> Tensor:
        if self.shift:
            down, right = torch.randint(2 * self.shift + 1, (2,), generator=generator).tolist()
            height, width = picture.shape[-2:]
            padded = F.pad(picture, (self.shift,) * 4)
            picture = padded[..., down : down + height, right : right + width]
        if self.flip and float(torch.rand((), generator=generator)) < self.flip:
            picture = picture.flip(-1)
        return picture.contiguous()


def cut(labels: Sequence[int], shares: Sequence[float], seed: int, name: str) -> list[list[int]]:
    """Divide items at random into parts, every class in the same shares; what is over forms the last part.

    Args:
        labels: of all items.
        shares: of each part but the last, in [0, 1].
        seed: of the draw.
        name: of the data set, so that two of them are drawn independently.

    Returns:
        Sorted positions, ``len(shares) + 1`` parts that hold every item once.

    Example:
        >>> [len(part) for part in cut([0] * 10 + [1] * 20, [0.2, 0.1], seed=0, name="example")]
        [6, 3, 21]
    """
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    for label in sorted(set(labels)):
        members = [position for position, other in enumerate(labels) if other == label]
        generator = torch.Generator().manual_seed(derive_seed(seed, "cut", name, label))
        order = [members[i] for i in torch.randperm(len(members), generator=generator).tolist()]
        for part, share in zip(parts, shares, strict=False):
            count = round(share * len(members))
            part += order[:count]
            order = order[count:]
        parts[-1] += order
    return [sorted(part) for part in parts]


def resize_pictures(pictures: Tensor, size: int) -> Tensor:
    """Return uint8 pictures of ``size`` pixels a side, bilinear, smoothed against aliasing where they shrink."""
    if pictures.shape[-1] == pictures.shape[-2] == size:
        return pictures
    chunks = [
        F.interpolate(chunk.float(), (size, size), mode="bilinear", align_corners=False, antialias=True)
        for chunk in pictures.split(4096)  # floats of a whole data set would fill the memory
    ]
    return torch.cat([chunk.round().clamp(0, 255).to(torch.uint8) for chunk in chunks])
