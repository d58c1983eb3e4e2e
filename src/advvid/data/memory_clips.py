"""A split whose videos all lie decoded in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from advvid.core import digests


class MemoryClips(Dataset[tuple[Tensor, int, str]]):
    """Clips cut from decoded videos.

    Args:
        videos: uint8 ``[n, 3, N, H, W]``.
        targets: labels.
        ids: unique names.
        frames: of a clip.
        stride: between its frames.
        shift: largest shift of a training clip in pixels.
        views: clips per video in testing, one after the other along time.
    """

    def __init__(
        self,
        videos: Tensor,
        targets: Sequence[int],
        ids: Sequence[str],
        frames: int,
        stride: int,
        shift: int = 0,
        views: int = 1,
    ) -> None:
        self.videos, self.targets, self.ids = videos, list(targets), list(ids)
        self.frames, self.stride, self.shift, self.views = frames, stride, shift, views

    def __len__(self) -> int:
        return len(self.videos)

    def digests(self) -> list[str]:
        """Return what each clip of testing is made of; see ``advvid.data.content.clip_digests``."""
        cut = (self.frames, self.stride, self.views)
        return [digests.of_values(digests.of_array(video), *cut) for video in self.videos]

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int, str]:
        """Return (clip uint8 ``[3, views * T, H, W]``, label, id); see ``advvid.data.loader.Clips`` for the key."""
        index, draw = key if isinstance(key, tuple) else (key, None)
        video = self.videos[index]
        room = video.shape[1] - (self.frames - 1) * self.stride - 1
        if draw is None:
            # Clips spread evenly: one lies in the middle, several reach from the first frame to the last.
            starts = [room // 2] if self.views == 1 else [round(i * room / (self.views - 1)) for i in range(self.views)]
            clip = torch.cat([self._cut(video, start) for start in starts], dim=1)
        else:
            generator = torch.Generator().manual_seed(draw)
            clip = self._cut(video, int(torch.randint(room + 1, (), generator=generator)))
            clip = self._shifted(clip, generator)
        return clip, self.targets[index], self.ids[index]

    def _cut(self, video: Tensor, start: int) -> Tensor:
        return video[:, start : start + (self.frames - 1) * self.stride + 1 : self.stride]

    def _shifted(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Move all frames of a clip by the same few pixels, repeating the edge."""
        if not self.shift:
            return clip
        down, right = torch.randint(2 * self.shift + 1, (2,), generator=generator).tolist()
        padded = F.pad(clip.float(), (self.shift,) * 4, mode="replicate").to(clip.dtype)
        height, width = clip.shape[-2:]
        return padded[..., down : down + height, right : right + width]
