"""From a model configuration to a ready model."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from torch import nn

from advvid.config.instantiate import checked_plan, find_target, safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.models.fit import RunModel
from advvid.tasks.base import DatasetTask

# What is said where a model puts out something else than the data set's task wants, by what is wanted.
MISMATCH = {
    "logits": "the model predicts frames, but the data set wants its clips classified: choose another model, or "
    "dataset=moving_digits or moving_mnist",
    "frames": "the model classifies clips, but the data set wants their next frames predicted: choose model=next_frame, or "
    "another dataset",
}


def check_task(cfg: DictConfig, task: DatasetTask) -> None:
    """Refuse a model that puts out something else than a data set's task wants; nothing is made for it.

    Args:
        cfg: a node of ``conf/model``.
        task: of the data set.

    Raises:
        AdvvidError: if they do not go together, or the model's target may not be made.
    """
    given = getattr(find_target(cfg.get("_target_"), "model"), "output", None)
    if given is not None and given != task.output:  # what is no model at all is refused when it is made
        raise AdvvidError(MISMATCH[task.output])


def check_settings(cfg: DictConfig, clip_shape: Sequence[int], views: int) -> None:
    """Refuse a model's settings of the wrong kind or out of range, before data are made; nothing is built.

    Raises:
        AdvvidError: naming the option.
    """
    checked_plan(_filled(cfg, 2, clip_shape, views))  # the number of classes is no setting of the model


def build_model(
    cfg: DictConfig, num_classes: int, clip_shape: Sequence[int], views: int = 1, load_weights: bool = True
) -> nn.Module:
    """Build the model of a configuration for a data set, and make sure that it takes the data's clips.

    Args:
        cfg: a node of ``conf/model``; ``num_classes``, ``clip_shape`` and ``views`` are filled in here, so that the
            network's own node can refer to them.
        num_classes: number of classes of the data set, K; 0 where nothing is classified.
        clip_shape: ``(3, T, H, W)`` of one clip of the data, ``(T, F)`` of features.
        views: clips per video, laid one after the other in time.
        load_weights: whether ``cfg.checkpoint`` is loaded; False where a run's own weights follow.

    Raises:
        AdvvidError: if a setting is impossible, the weights do not fit, or the network cannot take such clips.

    Example:
        >>> build_model(cfg.model, num_classes=10, clip_shape=(3, 8, 32, 32))(torch.rand(1, 3, 8, 32, 32)).shape
        torch.Size([1, 10])
    """
    node = _filled(cfg, num_classes, clip_shape, views)
    if not load_weights:
        node.checkpoint = None
    model = safe_instantiate(node)
    if not (isinstance(model, nn.Module) and isinstance(model, RunModel)):
        raise AdvvidError(
            f"model._target_={cfg.get('_target_')} cannot be used directly: set "
            "model._target_=advvid.models.VideoClassifier and put your network under model.net"
        )
    model.check(clip_shape)
    return model


def _filled(cfg: DictConfig, num_classes: int, clip_shape: Sequence[int], views: int) -> DictConfig:
    """Return a copy of a model's node with what the data set says, which can be written to."""
    node = cfg.copy()
    OmegaConf.set_struct(node, False)
    OmegaConf.set_readonly(node, False)
    node.num_classes, node.clip_shape, node.views = num_classes, list(clip_shape), views
    return node
