"""Feature denoising inside the network, trained against an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from advvid.core.errors import AdvvidError
from advvid.core.kinds import Number
from advvid.defenses.at import AT
from advvid.models.non_local import NonLocal
from advvid.models.residual import Place, add_after, frames_after, residual_blocks


@dataclass(kw_only=True)
class FeatureDenoising(AT):
    """AT of a ResNet with non-local denoising blocks (Xie et al. 2019): see ``NonLocal``.

    Lo & Patel compare two forms for video. *3D* (Xie-A): 1x1x1 convolutions; here a place is compared with those of all
    frames, where the published code stays within its frame (``over=frame``). *2D, frame by frame* (Xie-B): every frame
    by itself; the published code gives each frame weights of its own (``frame_weights=own``), which its 34.8 M weights
    against 33.7 M come from. The network starts as the one that is wrapped. Cost per clip: AT's passes, each dearer by
    what the blocks compute, which grows with the square of the number of places.

    Args:
        over: ``clip`` or ``frame``: which places are averaged.
        frame_weights: ``shared``, or each frame's ``own``, for clips of one length.
        embed: compare after a convolution to half the channels.
        softmax: weights by softmax; false: the product, which costs time linear in the number of places.
        after: the last block of each ``stage`` (Xie et al., sec. 6), or every ``block``.
        strength: factor on what the blocks add; with 0 this is AT of the plain network.

    Other arguments: see ``Defense``.

    Example:
        >>> model = FeatureDenoising(over="frame").wrap(classifier)         # doctest: +SKIP
    """

    over: Literal["clip", "frame"] = "clip"
    frame_weights: Literal["shared", "own"] = "shared"
    embed: bool = True
    softmax: bool = True
    after: Literal["block", "stage"] = "stage"
    strength: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame_weights == "own" and not (self.over == "frame" and self.embed):
            raise AdvvidError(
                "defense.frame_weights=own is for embeddings within frames: set over=frame and embed=true"
            )

    def wrap(self, model: nn.Module) -> nn.Module:
        """Put the blocks into the model, in place.

        Raises:
            AdvvidError: if it has no residual blocks, or its clips' length is needed and unknown.
        """
        frames: dict[int, int] = {}
        if self.frame_weights == "own":
            shape = getattr(model, "clip_shape", None)
            if shape is None:
                raise AdvvidError(
                    "defense.frame_weights=own needs the length of the clips: give the model its clip_shape"
                )
            places = residual_blocks(model, "feature_denoising")
            counts = frames_after(model, places, shape)
            frames = {id(place.block): count for place, count in zip(places, counts, strict=True)}

        def block(place: Place) -> nn.Module:
            return NonLocal(place.channels, self.over, self.embed, self.softmax, frames.get(id(place.block)))

        add_after(model, "feature_denoising", self.after, block, float(self.strength))
        return model
