"""How video files are read and cut into clips: the options that every data set of files has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le, Lt

from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Positive, Seed, Share
from advvid.data.cut import SPREAD, Cut
from advvid.data.decoders import ON_GPU, Decoder, check_decoder, decodes_on_gpu
from advvid.data.groups import check_pattern
from advvid.data.limits import Limited
from advvid.data.loader import Workers

# Part of a frame that is cut out.
Area = Annotated[float, Gt(0), Le(1)]
# Frames from one frame of a clip to the next.
Stride = Count | Literal["spread"]
# Share of a list that is cut off.
Fraction = Annotated[float, Gt(0), Lt(1)]


@dataclass(kw_only=True, eq=False)
class Reading(Limited):
    """How video files are read and cut into clips.

    Args:
        name: of the data set, in tables and reports and as the beginning of a run's folder.
        frames: of a clip.
        stride: between its frames, at the video's own rate; a short video starts again at its end. ``spread`` takes one
            clip from the whole video: every (length // frames)-th frame from the first one on.
        size: side of the clips; budgets live at this resolution.
        short_side: to which frames are resized before cropping to ``size``; None for ``size``.
        flip: probability of a mirrored training clip.
        scale: area range of a random resized crop in training, such as [0.25, 1]; None for a random crop.
        val_fraction: share of the training videos cut off for validation, by group, where no list says which.
        group_pattern: regular expression that finds a video's group; see ``advvid.data.groups.group_of``.
        seed: of the cuts into splits.
        limit_train: number of videos in total, round-robin over the classes; None for all. Likewise ``limit_val`` and
            ``limit_test``.
        test_clips: clips per video in testing, spread evenly; their logits are averaged inside the model.
        allow_overlap: go on where a video stands in two splits, and state it in the table.
        on_error: ``raise`` names every missing or undecodable video before anything starts; ``skip`` goes on without.
        decoder: see ``advvid.data.decoders``.
        workers: loader processes; ``auto`` starts one per core.
        cache: folder in which decoded frames are kept for later epochs and runs (see ``advvid.data.cache``); ``auto``
            for one of advvid's own where the data set is small (``advvid.data.auto_cache``), None for none. Of a
            training video all frames are kept, at ``short_side`` (with ``scale``, at full size); of the others the clips
            that are scored. The clips are the same bit for bit with and without it.
        cache_gb: bound on that folder; what does not fit is decoded each time.

    Raises:
        AdvvidError: for impossible settings.
    """

    name: str | None = None
    frames: Count = 16
    stride: Stride = 1
    size: Count = 112
    short_side: Count | None = None
    flip: Share = 0.5
    scale: tuple[Area, Area] | None = None
    val_fraction: Fraction = 0.1
    group_pattern: str | None = None
    seed: Seed = 0
    test_clips: Count = 1
    allow_overlap: bool = False
    on_error: Literal["raise", "skip"] = "raise"
    decoder: Decoder = "decord"
    workers: Workers = "auto"
    cache: FilePath | Literal["auto"] | None = None
    cache_gb: Positive = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and not re.fullmatch(r"\w[\w .+-]*", self.name):
            raise AdvvidError(
                f"dataset.name={self.name!r} cannot begin a folder's name: use letters, digits and spaces, . + - _ alone"
            )
        if self.short_side is not None and self.short_side < self.size:
            raise AdvvidError(
                f"dataset.short_side={self.short_side} is smaller than dataset.size={self.size}: raise it, or leave it null"
            )
        if self.scale is not None and not self.scale[0] <= self.scale[1]:
            raise AdvvidError(
                f"dataset.scale={list(self.scale)} is no range of areas: write two numbers such as [0.25, 1]"
            )
        if self.stride == SPREAD and self.test_clips > 1:
            raise AdvvidError(
                f"dataset.stride=spread makes one clip of a whole video, so that dataset.test_clips={self.test_clips} would be "
                "the same clip again: leave it 1, or choose a stride in frames"
            )
        check_pattern(self.group_pattern)
        check_decoder(self.decoder)
        if self.decoder == ON_GPU and self.workers != 0:
            raise AdvvidError(
                f"dataset.decoder={ON_GPU} decodes in the process that has the GPU, which loader processes do not: add "
                "dataset.workers=0"
            )

    @property
    def hardware(self) -> bool:
        """Whether ``decoder=auto`` may use a GPU's own decoder: in the process that has the GPU, not in loader processes."""
        return self.decoder == "auto" and self.workers == 0 and decodes_on_gpu()

    @property
    def cut(self) -> Cut:
        """How clips are cut from videos."""
        return Cut(
            frames=self.frames,
            stride=self.stride,
            size=self.size,
            short_side=self.short_side or self.size,
            flip=self.flip,
            scale=None if self.scale is None else (float(self.scale[0]), float(self.scale[1])),
            views=self.test_clips,
            decoder=self.decoder,
        )
