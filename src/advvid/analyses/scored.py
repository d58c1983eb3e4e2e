"""The models that an analysis compares: the run's own, and those of other runs on the same clips."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from advvid.analyses.base import Context
from advvid.core import checkpoint, digests
from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath
from advvid.core.paths import user_path
from advvid.evaluation.columns import fingerprint
from advvid.models.rebuild import rebuild

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """A trained model under a name.

    Args:
        label: its name in tables and figures.
        source: the checkpoint file.
        model: defense included, in evaluation mode.
        weights: hash of every weight and buffer.
        key: digest of the weights and of the settings that they work in.
    """

    label: str
    source: Path
    model: nn.Module
    weights: str
    key: str

    @property
    def origin(self) -> dict[str, str]:
        """Its name, file and weights, as results hold them."""
        return {"label": self.label, "checkpoint": str(self.source), "weights": self.weights}


# Run folders or files; one may be given by itself.
Checkpoints = FilePath | Sequence[FilePath]


def named_paths(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return checkpoints as a tuple, one path given by itself included; a wrong path is told before any work."""
    paths = () if value is None else (value,) if isinstance(value, str) else tuple(str(path) for path in value)
    for path in paths:
        checkpoint.find(path)
    return paths


def scored_models(context: Context, checkpoints: Sequence[str], labels: Sequence[str] = ()) -> list[Scored]:
    """Return the run's own model and then those of ``checkpoints``, each once.

    Args:
        context: whose clips and classes all models must share.
        checkpoints: run folders, scored at the checkpoint that their own schedule selects, or ``.pt`` files.
        labels: a name for each model, the run's own first; made from defenses or folders where empty.

    Raises:
        AdvvidError: if a checkpoint knows other classes or cannot take the clips, or the labels do not fit.
    """
    found: list[tuple[Path, nn.Module, Mapping[str, Any]]] = [(context.source, context.model.eval(), context.config)]
    for path in checkpoints:
        source = selected(path)
        if source.resolve() not in [known.resolve() for known, *_ in found]:
            model, config = rebuilt(source, context.classes, context.clip_shape, context.views, context.config)
            context.watch.follow(model)
            found.append((source, model.to(context.device), config))
    names = _labels([source for source, *_ in found], [config for *_, config in found], labels)
    models = []
    for name, (source, model, _) in zip(names, found, strict=True):
        models.append(Scored(name, source, model, fingerprint(model), digests.of_module(model)[:16]))
    return models


def selected(path: str) -> Path:
    """Return the checkpoint file of a run that its own schedule selects (``last`` or ``best``)."""
    file = checkpoint.find(path)
    if not user_path(path).is_dir():
        return file
    schedule = checkpoint.load_run(file)["config"].get("schedule")
    return checkpoint.find(
        path, "best" if isinstance(schedule, Mapping) and schedule.get("select") == "best" else "last"
    )


def rebuilt(
    source: Path, classes: Sequence[str], clip_shape: Sequence[int], views: int, config: Mapping[str, Any]
) -> tuple[nn.Module, Mapping[str, Any]]:
    """Build a run's model from its saved configuration, which may make only what ``safe_instantiate`` allows.

    Args:
        source: the checkpoint file.
        classes: of the present clips.
        clip_shape: ``(3, T, H, W)`` of one view of them.
        views: clips per video.
        config: of the present run, for a warning where its clips are others than those of training.

    Returns:
        the model in evaluation mode, on the CPU, and its run's configuration.

    Raises:
        AdvvidError: if the checkpoint knows other classes or cannot take the clips.
    """
    state = checkpoint.load_run(source)
    if list(state["classes"]) != list(classes):
        raise AdvvidError(
            f"the checkpoint {source} knows {len(state['classes'])} classes ({', '.join(state['classes'][:3])}, ...) but "
            f"the clips have {len(classes)} ({', '.join(list(classes)[:3])}, ...): compare models that "
            "were trained on the same classes"
        )
    trained = state["config"].get("dataset")
    _warn_of_other_clips(source, trained if isinstance(trained, Mapping) else {}, config.get("dataset", {}))
    return rebuild(state, source, clip_shape, views), state["config"]


def _warn_of_other_clips(source: Path, trained: Mapping[str, Any], scored: Mapping[str, Any]) -> None:
    other = [k for k in ("_target_", "frames", "stride", "size") if k in scored and trained.get(k) != scored[k]]
    if other:
        said = ", ".join(f"{k}={trained.get(k)} instead of {scored[k]}" for k in other)
        log.warning(
            "%s was trained on other clips than it is scored on (%s): its accuracy suffers from that too", source, said
        )


def _labels(sources: Sequence[Path], configs: Sequence[Mapping[str, Any]], given: Sequence[str]) -> list[str]:
    """Return the given labels, or the shortest kind of name that tells the models apart."""
    if given:
        if len(given) != len(sources) or len(set(given)) != len(given):
            raise AdvvidError(
                f"analysis.labels has {len(given)} names ({', '.join(map(str, given))}) for {len(sources)} models: give one "
                "for each, the run's own first, no two alike"
            )
        return [str(name) for name in given]
    choices = [config.get("choices", {}) for config in configs]
    defenses = [str(c.get("defense", source.stem)) for c, source in zip(choices, sources, strict=True)]
    folders = [source.parent.parent.name or str(source) for source in sources]
    kinds = [
        defenses,
        [f"{d} {c.get('model', '')}".strip() for d, c in zip(defenses, choices, strict=True)],
        folders,
        [f"{folder} {source.stem}" for folder, source in zip(folders, sources, strict=True)],
        [str(source) for source in sources],
    ]
    return next(kind for kind in kinds if len(set(kind)) == len(kind))
