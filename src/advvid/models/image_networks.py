"""Image networks of timm on every frame of a clip."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath
from advvid.models.hugging_face import Channels, Scales
from advvid.models.per_frame import FrameAverage, FrameClassifier


@checked
class TimmClassifier(FrameClassifier):
    """An image network of timm on every frame; a clip's logits are the mean over its frames.

    Weights are new, or come from a local file; nothing is ever downloaded.

    Args:
        name: of the network, as ``timm.list_models()`` has it.
        num_classes: number of logits, K.
        mean: see ``VideoClassifier``; None for what timm notes of its published weights, as for std.
        std: likewise.
        clip_shape: see ``VideoClassifier``, as for what follows.
        size: side of the frames that the network wants; None for the clips' own, or the network's where it takes no other.
        frames: number of frames that the network sees.
        views: clips per video.
        checkpoint: a local file of weights, such as ``model.safetensors`` of a folder from the Hugging Face hub.
        freeze: what is not trained.

    Raises:
        AdvvidError: without timm, for a name that it does not know, and as ``VideoClassifier`` does.

    Example:
        >>> model = TimmClassifier("resnet18", 10)     # doctest: +SKIP
    """

    def __init__(
        self,
        name: str,
        num_classes: Count,
        mean: Channels | None = None,
        std: Scales | None = None,
        clip_shape: Sequence[Count] | None = None,
        size: Count | tuple[Count, Count] | None = None,
        frames: Count | None = None,
        views: Count = 1,
        checkpoint: FilePath | None = None,
        freeze: str | Sequence[str] | None = None,
    ) -> None:
        net = _made(name, num_classes)
        own = net.pretrained_cfg
        fixed = int(own["input_size"][-1]) if own.get("fixed_input_size") else None
        super().__init__(
            FrameAverage(net),
            num_classes,
            mean=tuple(own["mean"]) if mean is None else mean,
            std=tuple(own["std"]) if std is None else std,
            clip_shape=clip_shape,
            size=size or fixed,
            frames=frames,
            views=views,
            checkpoint=checkpoint,
            freeze=freeze,
        )


def _made(name: str, num_classes: int) -> Any:
    try:
        import timm
    except ImportError as error:
        raise AdvvidError(f"model=timm needs timm ({error}): pip install 'advvid[timm]'") from None
    known = timm.list_models()
    if name not in known:  # of a name with a place in front of it, timm would ask the network
        near = difflib.get_close_matches(name, known, n=1)
        raise AdvvidError(
            f"model.name={name} is no network of timm {timm.__version__}: "
            + (f"did you mean {near[0]}?" if near else "timm.list_models() shows all")
        )
    return timm.create_model(name, pretrained=False, num_classes=num_classes)
