"""From a model configuration to a ready model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn
from torch.func import functional_call

from advvid.errors import AdvvidError
from advvid.instantiate import safe_instantiate
from advvid.models.classifier import VideoClassifier
from advvid.models.feature_transformer import FeatureTransformer


def build_model(
    cfg: DictConfig, num_classes: int, clip_shape: Sequence[int], views: int = 1, load_weights: bool = True
) -> nn.Module:
    """Build the model of a configuration for a data set, and make sure that it takes the data's clips.

    Args:
        cfg: a node of ``conf/model``; ``num_classes``, ``clip_shape`` and ``views`` are filled in here, so that the
            network's own node can refer to them.
        num_classes: number of classes of the data set, K.
        clip_shape: ``(3, T, H, W)`` of one clip of the data, ``(T, F)`` of features.
        views: clips per video, laid one after the other in time.
        load_weights: whether ``cfg.checkpoint`` is loaded; False where a run's own weights follow.

    Raises:
        AdvvidError: if a setting is impossible, the weights do not fit, or the network cannot take such clips.

    Example:
        >>> build_model(cfg.model, num_classes=10, clip_shape=(3, 8, 32, 32))(torch.rand(1, 3, 8, 32, 32)).shape
        torch.Size([1, 10])
    """
    node = cfg.copy()
    with open_dict(node):
        node.num_classes, node.clip_shape, node.views = num_classes, list(clip_shape), views
        if not load_weights:
            node.checkpoint = None
    model = safe_instantiate(node)
    if isinstance(model, VideoClassifier):
        check_clips(model, clip_shape)
    elif isinstance(model, FeatureTransformer):
        check_output(model, (2, *clip_shape))
    else:
        raise AdvvidError(
            f"model._target_={cfg.get('_target_')} is no video classifier: target {VideoClassifier.__module__}.VideoClassifier"
        )
    return model


def check_clips(model: VideoClassifier, clip_shape: Sequence[int]) -> None:
    """Make sure, without computing anything where possible, that a model gives one row of logits per clip.

    Raises:
        AdvvidError: if the network cannot take clips of this shape, with the options to change.
    """
    if len(clip_shape) != 4:
        raise AdvvidError(
            f"the model takes clips of pixels, but the data's inputs are {' x '.join(map(str, clip_shape))}: choose "
            "model=feature_transformer for features"
        )
    channels, frames, height, width = clip_shape
    try:
        check_output(model, (2, channels, model.views * frames, height, width))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        sees = (model.frames or frames, *(model.size or (height, width)))
        raise AdvvidError(
            f"the network cannot take clips of {' x '.join(map(str, sees))} (frames x height x width): set model.frames "
            f"and model.size, or dataset.frames and dataset.size, to what it was made for ({reason})"
        ) from error


def check_output(model: VideoClassifier | FeatureTransformer, shape: tuple[int, ...]) -> None:
    """Make sure that a model gives one row of logits per input, for two inputs of this shape.

    Raises:
        AdvvidError: if its output has another shape; what the network raises over such inputs is passed on.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        logits = _shape_only(model, shape)
        if logits is None:  # a step without a shape-only form: compute it
            with torch.no_grad():
                logits = model(torch.zeros(shape))
    finally:
        for module, training in modes.items():
            module.training = training
    if logits.shape != (2, model.num_classes):
        raise AdvvidError(
            f"the network gives {list(logits.shape)} for 2 clips instead of [2, {model.num_classes}]: give its head "
            "as many outputs as there are classes, as in model.net.num_classes=${..num_classes}"
        )


def _shape_only(model: nn.Module, shape: tuple[int, ...]) -> Tensor | None:
    """Run the model on tensors without data; None where it has a step that needs data."""
    state = {name: t.to("meta") for name, t in [*model.named_parameters(), *model.named_buffers()]}
    try:
        with torch.no_grad():
            return functional_call(model, state, (torch.zeros(shape, device="meta"),))
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError):
        return None
