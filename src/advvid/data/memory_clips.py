"""A split whose videos all lie decoded in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
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
        clips, targets, ids = self.together([key])
        return clips[0], int(targets[0]), ids[0]

    def together(self, keys: Sequence[int | tuple[int, int]]) -> tuple[Tensor, Tensor, list[str]]:
        """Return a batch as ``(uint8 [B, 3, views * T, H, W], labels [B], ids)``, a few operations for all its clips."""
        cuts, moves, indices, generator = [], [], [], torch.Generator()
        room = self.videos.shape[2] - (self.frames - 1) * self.stride - 1
        for key in keys:
            index, draw = key if isinstance(key, tuple) else (key, None)
            video, move = self.videos[index], [self.shift, self.shift]
            if draw is None:
                # Clips spread evenly: one lies in the middle, several reach from the first frame to the last.
                last = max(1, self.views - 1)
                starts = [room // 2] if self.views == 1 else [round(i * room / last) for i in range(self.views)]
            else:
                generator.manual_seed(draw)
                starts = [int(torch.randint(room + 1, (), generator=generator))]
                if self.shift:
                    move = torch.randint(2 * self.shift + 1, (2,), generator=generator).tolist()
            cuts.append(torch.cat([self._cut(video, start) for start in starts], dim=1))
            moves.append(move)
            indices.append(index)
        clips = torch.stack(cuts)
        if any(move != [self.shift, self.shift] for move in moves):
            clips = moved(clips, torch.tensor(moves) - self.shift)
        return clips, torch.tensor([self.targets[i] for i in indices]), [self.ids[i] for i in indices]

    def _cut(self, video: Tensor, start: int) -> Tensor:
        return video[:, start : start + (self.frames - 1) * self.stride + 1 : self.stride]


def moved(clips: Tensor, by: Tensor) -> Tensor:
    """Return clips of which each shows all its frames moved by a few pixels; the edge is repeated.

    Shape:
        clips: ``[B, C, T, H, W]``, like the result; by: int64 ``[B, 2]``, rows and columns, positive for up and left.

    Example:
        >>> moved(torch.tensor([1, 2, 3]).view(1, 1, 1, 1, 3), torch.tensor([[0, 1]])).flatten().tolist()
        [2, 3, 3]
    """
    *most, height, width = clips.shape
    rows, columns = ((by[:, i, None] + torch.arange(side)).clamp(0, side - 1) for i, side in enumerate((height, width)))
    places = (rows[:, :, None] * width + columns[:, None, :]).view(len(clips), 1, 1, -1)
    return clips.view(*most, -1).gather(3, places.expand(*most, -1)).view(clips.shape)
